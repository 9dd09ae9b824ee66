"""A QMP session by the library qemu.qmp, led by a test: one command or wait on each line of standard input, its outcome on standard output.

    COMMAND [JSON]      executes it; prints its return value, or the class of the error
    ~EVENT              waits for an event; prints its data
"""

import asyncio
import json
import sys

from qemu.qmp import EventListener, ExecuteError, QMPClient


async def main(path: str) -> None:
    client = QMPClient("test")
    with client.listener() as events:
        await client.connect(path)
        print("connected", client.greeting.QMP.version["qemu"]["major"], flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            print(line, "->", await answer(client, events, line), flush=True)
        try:
            await client.disconnect()
        except EOFError:
            # The machine has ended, and the connection with it.
            print("closed", flush=True)


async def answer(client: QMPClient, events: EventListener, line: str) -> str:
    if line.startswith("~"):
        async for event in events:
            if event["event"] == line[1:]:
                return json.dumps(event["data"] if "data" in event else {}, sort_keys=True)
    name, _, arguments = line.partition(" ")
    try:
        return json.dumps(await client.execute(name, json.loads(arguments or "{}")), sort_keys=True)
    except ExecuteError as error:
        return error.error_class


asyncio.run(main(sys.argv[1]))
