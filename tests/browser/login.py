#!/usr/bin/env python3
"""Answers a server's login prompt as a person in a browser would, and says what the browser shows then.

    login.py chromium|firefox URL USER SCREENSHOT <PASSWORDS

One password a line on standard input; for each, the page is asked for once and the prompt is answered once, in one
browser session; asked again, or where the line is empty, the person cancels. Prints a line for each: the text of the
page that the browser shows then.

Chromium is driven by its DevTools protocol over a pipe, Firefox by WebDriver BiDi over a WebSocket.
"""
import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

WAIT = 60


class Chromium:
    def __init__(self, profile):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        arguments = ["/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                     "--no-first-run", "--disable-background-networking", "--disable-component-update",
                     "--disable-sync", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]

        def place_pipes():
            # The protocol's fixed numbers; first out of the way of each other.
            commands, answers = os.dup(to_browser), os.dup(from_browser)
            os.dup2(commands, 3)
            os.dup2(answers, 4)

        self.process = subprocess.Popen(arguments, preexec_fn=place_pipes, close_fds=False,
                                        start_new_session=True, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.buffer = b""
        self.number = 0
        self.events = []

    def receive(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.read_end, 1 << 16)
            if not chunk:
                raise SystemExit("chromium has ended")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        return self.number

    def result(self, number):
        while True:
            message = self.receive()
            if message.get("id") == number:
                if "error" in message:
                    raise SystemExit(f"chromium: {message['error']}")
                return message["result"]
            if "method" in message:
                self.events.append(message)

    def next_event(self, names):
        while True:
            for index, event in enumerate(self.events):
                if event["method"] in names:
                    return self.events.pop(index)
            message = self.receive()
            if "method" in message:
                self.events.append(message)

    def run(self, url, user, passwords, screenshot):
        target = self.result(self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = self.result(self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        self.result(self.call("Page.enable", session))
        self.result(self.call("Fetch.enable", session, handleAuthRequests=True))
        outcomes = []
        for password in passwords:
            self.call("Page.navigate", session, url=url)
            answered = not password
            while True:
                event = self.next_event(["Fetch.requestPaused", "Fetch.authRequired", "Page.loadEventFired"])
                parameters = event["params"]
                if event["method"] == "Fetch.requestPaused":
                    self.call("Fetch.continueRequest", session, requestId=parameters["requestId"])
                elif event["method"] == "Fetch.authRequired":
                    response = {"response": "CancelAuth"} if answered else {
                        "response": "ProvideCredentials", "username": user, "password": password}
                    answered = True
                    self.call("Fetch.continueWithAuth", session, requestId=parameters["requestId"],
                              authChallengeResponse=response)
                else:
                    break
            text = self.result(self.call("Runtime.evaluate", session, expression="document.body.innerText"))
            outcomes.append(text["result"].get("value", ""))
        picture = self.result(self.call("Page.captureScreenshot", session))["data"]
        with open(screenshot, "wb") as file:
            file.write(base64.b64decode(picture))
        return outcomes


class Firefox:
    def __init__(self, profile):
        with open(os.path.join(profile, "user.js"), "w") as file:
            for name, value in {"app.update.enabled": False, "browser.shell.checkDefaultBrowser": False,
                                "datareporting.policy.dataSubmissionEnabled": False,
                                "network.captive-portal-service.enabled": False,
                                "network.connectivity-service.enabled": False,
                                "remote.active-protocols": 1}.items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        self.process = subprocess.Popen(
            ["/usr/bin/firefox-esr", "--headless", "--no-remote", "--profile", profile,
             "--remote-debugging-port", "0", "about:blank"],
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "MOZ_CRASHREPORTER_DISABLE": "1"})
        for line in self.process.stderr:
            found = re.search(r"WebDriver BiDi listening on (ws://\S+)", line)
            if found:
                self.address = found.group(1) + "/session"
                break
        else:
            raise SystemExit("firefox has ended")

    def run(self, url, user, passwords, screenshot):
        return asyncio.run(self.converse(url, user, passwords, screenshot))

    async def converse(self, url, user, passwords, screenshot):
        import websockets
        async with websockets.connect(self.address, max_size=None, ping_interval=None) as socket:
            number = 0
            answered = [False]
            password_now = [None]

            async def call(method, **parameters):
                nonlocal number
                number += 1
                mine = number
                await socket.send(json.dumps({"id": mine, "method": method, "params": parameters}))
                while True:
                    message = json.loads(await socket.recv())
                    if message.get("method") == "network.authRequired":
                        # Answered in passing: the call under way waits for it.
                        request = message["params"]["request"]["request"]
                        if answered[0]:
                            reply = {"request": request, "action": "cancel"}
                        else:
                            answered[0] = True
                            reply = {"request": request, "action": "provideCredentials",
                                     "credentials": {"type": "password", "username": user,
                                                     "password": password_now[0]}}
                        number += 1
                        await socket.send(json.dumps({"id": number, "method": "network.continueWithAuth",
                                                      "params": reply}))
                    elif message.get("id") == mine:
                        if message.get("type") == "error":
                            raise SystemExit(f"firefox: {message['error']}: {message['message']}")
                        return message["result"]

            await call("session.new", capabilities={})
            await call("session.subscribe", events=["network.authRequired"])
            context = (await call("browsingContext.getTree"))["contexts"][0]["context"]
            await call("network.addIntercept", phases=["authRequired"])
            outcomes = []
            for password in passwords:
                password_now[0], answered[0] = password, not password
                try:
                    await call("browsingContext.navigate", context=context, url=url, wait="complete")
                    text = await call("script.evaluate", expression="document.body.innerText",
                                      target={"context": context}, awaitPromise=False)
                    outcomes.append(text["result"].get("value", ""))
                except SystemExit as error:
                    # So Firefox calls it if there is next to nothing to show to a person who has cancelled.
                    outcomes.append(f"refused ({error})")
            picture = await call("browsingContext.captureScreenshot", context=context)
            with open(screenshot, "wb") as file:
                file.write(base64.b64decode(picture["data"]))
            return outcomes


def main():
    kind, url, user, screenshot = sys.argv[1:]
    passwords = sys.stdin.read().splitlines()
    profile = tempfile.mkdtemp()
    browser = None
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"{kind} hasn't answered for {WAIT} seconds"))
    signal.alarm(WAIT)
    try:
        browser = {"chromium": Chromium, "firefox": Firefox}[kind](profile)
        for outcome in browser.run(url, user, passwords, screenshot):
            print(json.dumps(outcome))
    finally:
        if browser:
            # Its helpers, too: they are in its session.
            os.killpg(browser.process.pid, signal.SIGKILL)
            browser.process.wait()
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    main()
