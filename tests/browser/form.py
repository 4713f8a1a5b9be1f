#!/usr/bin/env python3
"""Uses the page to log in as a person does with nothing but a keyboard.

    form.py chromium|firefox SCREENSHOTS <STEPS

One step a line on standard input, as JSON: ["open", URL], ["type", TEXT], ["press", KEY], ["back"], ["shot", NAME],
["see", TEXT]: waits until the page shows that text, and prints what it shows then, as JSON; ["focus", NAME]: waits until
the field of that name has the focus. SCREENSHOTS is a directory.
Scripts are off in Chromium; Firefox shows what it shows by way of one, so there only the page's policy forbids them.
"""
import asyncio
import base64
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from login import Chromium, Firefox

WAIT = 90
PATIENCE = 30
TEXT = "document.body ? document.body.innerText : ''"
FOCUS = "document.activeElement ? document.activeElement.name || '' : ''"
# Of the DevTools protocol; of WebDriver.
KEYS = {"Tab": (9, "\ue004"), "Enter": (13, "\ue007"), "Space": (32, " ")}


def in_chromium(browser, steps, screenshots):
    target = browser.result(browser.call("Target.createTarget", url="about:blank"))["targetId"]
    session = browser.result(browser.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]

    def do(method, **parameters):
        return browser.result(browser.call(method, session, **parameters))

    do("Page.enable")
    do("Emulation.setScriptExecutionDisabled", value=True)

    def text(expression=TEXT):
        return do("Runtime.evaluate", expression=expression)["result"].get("value", "")

    for step in steps:
        if step[0] == "open":
            do("Page.navigate", url=step[1])
        elif step[0] == "back":
            history = do("Page.getNavigationHistory")
            entry = history["entries"][history["currentIndex"] - 1]
            do("Page.navigateToHistoryEntry", entryId=entry["id"])
        elif step[0] == "type":
            do("Input.insertText", text=step[1])
        elif step[0] == "press":
            code = KEYS[step[1]][0]
            key = {"key": " " if step[1] == "Space" else step[1], "code": step[1], "windowsVirtualKeyCode": code}
            if step[1] == "Enter":
                key["text"] = "\r"
            do("Input.dispatchKeyEvent", type="keyDown", **key)
            do("Input.dispatchKeyEvent", type="keyUp", **key)
        elif step[0] == "shot":
            picture = do("Page.captureScreenshot", captureBeyondViewport=True)["data"]
            with open(os.path.join(screenshots, step[1]), "wb") as file:
                file.write(base64.b64decode(picture))
        elif step[0] == "focus":
            await_text(lambda: text(FOCUS), step[1])
        elif step[0] == "see":
            yield await_text(text, step[1])


def await_text(text, wanted):
    end = time.monotonic() + PATIENCE
    while True:
        shown = text()
        if wanted in shown:
            return shown
        if time.monotonic() > end:
            raise SystemExit(f"{wanted!r} isn't shown, but {shown!r}")
        time.sleep(0.05)


async def in_firefox(browser, steps, screenshots):
    import websockets
    outcomes = []
    async with websockets.connect(browser.address, max_size=None, ping_interval=None) as socket:
        number = 0

        async def call(method, **parameters):
            nonlocal number
            number += 1
            await socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
            while True:
                message = json.loads(await socket.recv())
                if message.get("id") == number:
                    if message.get("type") == "error":
                        raise SystemExit(f"firefox: {message['error']}: {message['message']}")
                    return message["result"]

        await call("session.new", capabilities={})
        context = (await call("browsingContext.getTree"))["contexts"][0]["context"]

        async def press(characters):
            actions = [{"type": kind, "value": one} for one in characters for kind in ("keyDown", "keyUp")]
            await call("input.performActions", context=context,
                       actions=[{"type": "key", "id": "keyboard", "actions": actions}])

        for step in steps:
            if step[0] == "open":
                await call("browsingContext.navigate", context=context, url=step[1], wait="complete")
            elif step[0] == "back":
                await call("browsingContext.traverseHistory", context=context, delta=-1)
            elif step[0] == "type":
                await press(step[1])
            elif step[0] == "press":
                await press(KEYS[step[1]][1])
            elif step[0] == "shot":
                picture = await call("browsingContext.captureScreenshot", context=context)
                with open(os.path.join(screenshots, step[1]), "wb") as file:
                    file.write(base64.b64decode(picture["data"]))
            elif step[0] in ("see", "focus"):
                end = time.monotonic() + PATIENCE
                while True:
                    expression = TEXT if step[0] == "see" else FOCUS
                    found = await call("script.evaluate", expression=expression, target={"context": context},
                                       awaitPromise=False)
                    shown = found.get("result", {}).get("value", "")
                    if step[1] in shown:
                        outcomes.extend([shown] if step[0] == "see" else [])
                        break
                    if time.monotonic() > end:
                        raise SystemExit(f"{step[1]!r} isn't shown, but {shown!r}")
                    await asyncio.sleep(0.05)
    return outcomes


def main():
    kind, screenshots = sys.argv[1:]
    steps = [json.loads(line) for line in sys.stdin.read().splitlines()]
    profile = tempfile.mkdtemp()
    browser = None
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"{kind} hasn't answered for {WAIT} seconds"))
    signal.alarm(WAIT)
    try:
        if kind == "chromium":
            browser = Chromium(profile)
            outcomes = in_chromium(browser, steps, screenshots)
        else:
            browser = Firefox(profile)
            outcomes = asyncio.run(in_firefox(browser, steps, screenshots))
        for outcome in outcomes:
            print(json.dumps(outcome))
    finally:
        if browser:
            # Its helpers, too: they are in its session.
            os.killpg(browser.process.pid, signal.SIGKILL)
            browser.process.wait()
        shutil.rmtree(profile, ignore_errors=True)


main()
