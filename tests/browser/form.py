#!/usr/bin/env python3
"""Uses the page to log in as a person does with nothing but a keyboard.

    form.py chromium|firefox SCREENSHOTS

One step a line on standard input, as JSON; each is answered by a line of JSON once it is done:

    ["open", URL]      opens an address
    ["type", TEXT]     types
    ["press", KEY]     presses a key: Tab, Enter, Space
    ["tab to", TEXT]   presses Tab until what has the focus is labelled so
    ["back"]           goes back in the history
    ["reload"]         loads the page again
    ["see", TEXT]      waits until the page shows this text; the answer is all that it shows then
    ["focus", NAME]    waits until the field of that name has the focus
    ["value", NAME]    the answer is what stands in the field of that name
    ["shot", FILE]     takes a picture, into the directory SCREENSHOTS
    ["tab", NAME]      goes to the tab of that name, which is opened if need be
    ["person", NAME]   the same, with cookies of its own

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

WAIT = 60
PATIENCE = 30
TABS_MAX = 20
TEXT = "document.body ? document.body.innerText : ''"
FOCUS = "document.activeElement ? document.activeElement.name || '' : ''"
LABEL = """(() => {
    const it = document.activeElement;
    return it === document.body ? '' : it.labels && it.labels.length ? it.labels[0].innerText : it.innerText;
})() || ''"""
# Of the DevTools protocol; of WebDriver.
KEYS = {"Tab": (9, "\ue004"), "Enter": (13, "\ue007"), "Space": (32, " ")}


class Failed(Exception):
    pass


class InChromium:
    def __init__(self, profile):
        self.browser = Chromium(profile)
        self.process = self.browser.process

    async def begin(self):
        pass

    async def end(self):
        pass

    def result(self, method, **parameters):
        return self.browser.result(self.browser.call(method, **parameters))

    async def new_tab(self, is_somebody_else):
        # Windows of somebody else have cookies of their own.
        jar = {"browserContextId": self.result("Target.createBrowserContext")["browserContextId"]} \
            if is_somebody_else else {}
        target = self.result("Target.createTarget", url="about:blank", **jar)["targetId"]
        self.tab = self.result("Target.attachToTarget", targetId=target, flatten=True)["sessionId"], target
        self.do("Page.enable")
        self.do("Emulation.setScriptExecutionDisabled", value=True)
        return self.tab

    async def go_to(self, tab):
        self.tab = tab
        self.result("Target.activateTarget", targetId=tab[1])

    def do(self, method, **parameters):
        return self.browser.result(self.browser.call(method, self.tab[0], **parameters))

    async def open(self, url):
        self.do("Page.navigate", url=url)

    async def back(self):
        history = self.do("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        self.do("Page.navigateToHistoryEntry", entryId=entry["id"])

    async def reload(self):
        self.do("Page.reload")

    async def type(self, text):
        self.do("Input.insertText", text=text)

    async def press(self, name):
        code = KEYS[name][0]
        key = {"key": " " if name == "Space" else name, "code": name, "windowsVirtualKeyCode": code}
        if name == "Enter":
            key["text"] = "\r"
        self.do("Input.dispatchKeyEvent", type="keyDown", **key)
        self.do("Input.dispatchKeyEvent", type="keyUp", **key)

    async def picture(self):
        return self.do("Page.captureScreenshot", captureBeyondViewport=True)["data"]

    async def value_of(self, expression):
        try:
            return self.do("Runtime.evaluate", expression=expression)["result"].get("value", "")
        except SystemExit:
            return ""  # of a page that is just being left


class InFirefox:
    def __init__(self, profile):
        self.browser = Firefox(profile)
        self.process = self.browser.process
        self.number = 0

    async def begin(self):
        import websockets
        self.socket = await websockets.connect(self.browser.address, max_size=None, ping_interval=None)
        await self.call("session.new", capabilities={})

    async def end(self):
        await self.socket.close()

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self.socket.recv())
            if message.get("id") == self.number:
                if message.get("type") == "error":
                    raise Failed(f"firefox: {message['error']}: {message['message']}")
                return message["result"]

    async def new_tab(self, is_somebody_else):
        jar = {"userContext": (await self.call("browser.createUserContext"))["userContext"]} if is_somebody_else else {}
        self.tab = (await self.call("browsingContext.create", type="tab", **jar))["context"]
        return self.tab

    async def go_to(self, tab):
        self.tab = tab
        await self.call("browsingContext.activate", context=tab)

    async def open(self, url):
        await self.call("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    async def back(self):
        await self.call("browsingContext.traverseHistory", context=self.tab, delta=-1)

    async def reload(self):
        await self.call("browsingContext.reload", context=self.tab, wait="complete")

    async def type(self, text):
        actions = [{"type": kind, "value": one} for one in text for kind in ("keyDown", "keyUp")]
        await self.call("input.performActions", context=self.tab,
                        actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    async def press(self, name):
        await self.type(KEYS[name][1])

    async def picture(self):
        return (await self.call("browsingContext.captureScreenshot", context=self.tab))["data"]

    async def value_of(self, expression):
        try:
            found = await self.call("script.evaluate", expression=expression, target={"context": self.tab},
                                    awaitPromise=False)
        except Failed:
            return ""  # of a page that is just being left
        return found.get("result", {}).get("value", "")


async def awaited(browser, expression, wanted):
    end = time.monotonic() + PATIENCE
    while True:
        shown = await browser.value_of(expression)
        if wanted in shown:
            return shown
        if time.monotonic() > end:
            raise Failed(f"{wanted!r} isn't shown, but {shown!r}")
        await asyncio.sleep(0.05)


async def tab_to(browser, wanted):
    passed = []
    for _ in range(TABS_MAX):
        await browser.press("Tab")
        label = await browser.value_of(LABEL)
        if wanted in label:
            return label
        passed.append(label)
    raise Failed(f"the focus doesn't come to {wanted!r}: {passed}")


async def go_through(browser, screenshots):
    await browser.begin()
    tabs = {"": await browser.new_tab(False)}
    while line := await asyncio.to_thread(sys.stdin.readline):
        signal.alarm(WAIT)
        step, *about = json.loads(line)
        answer = None
        if step in ("open", "type", "press", "back", "reload"):
            await getattr(browser, step)(*about)
        elif step == "tab to":
            answer = await tab_to(browser, *about)
        elif step == "see":
            answer = await awaited(browser, TEXT, *about)
        elif step == "focus":
            await awaited(browser, FOCUS, *about)
        elif step == "value":
            answer = await browser.value_of(f"document.getElementsByName({json.dumps(about[0])})[0].value")
        elif step == "shot":
            with open(os.path.join(screenshots, about[0]), "wb") as file:
                file.write(base64.b64decode(await browser.picture()))
        elif step in ("tab", "person"):
            name = about[0]
            if name in tabs:
                await browser.go_to(tabs[name])
            else:
                tabs[name] = await browser.new_tab(step == "person")
        else:
            raise Failed(f"{step!r} is no step")
        print(json.dumps(answer), flush=True)
    await browser.end()


def give_up(*_):
    raise Failed(f"nothing has come of it for {WAIT} seconds")


def main():
    kind, screenshots = sys.argv[1:]
    profile = tempfile.mkdtemp()
    browser = None
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(WAIT)
    try:
        browser = {"chromium": InChromium, "firefox": InFirefox}[kind](profile)
        asyncio.run(go_through(browser, screenshots))
    except Failed as error:
        sys.exit(str(error))
    finally:
        if browser:
            # Its helpers, too: they are in its session.
            os.killpg(browser.process.pid, signal.SIGKILL)
            browser.process.wait()
        shutil.rmtree(profile, ignore_errors=True)


main()
