"""aiohttp: HTTP/1.1 with connections kept open. Arguments: port, log file."""
import sys

from aiohttp import web


async def callback(request):
    with open(sys.argv[2], "ab") as log:
        log.write(await request.read() + b"\n")
    return web.json_response({"received": True})


app = web.Application()
app.router.add_post("/{path:.*}", callback)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
