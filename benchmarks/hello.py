"""Baseline server: Litestar's bare "hello JSON" on uvicorn, GET and POST."""

import sys
from typing import Any

import uvicorn
from litestar import Litestar, get, post


@get("/hello")
async def hello() -> dict[str, str]:
    """Return the smallest useful JSON."""
    return {"hello": "world"}


@post("/hello")
async def hello_post(data: dict[str, Any]) -> dict[str, str]:
    """Read a JSON body and return the smallest useful JSON."""
    return {"hello": str(data["project_name"])}


app = Litestar([hello, hello_post], openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
