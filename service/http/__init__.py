"""The HTTP transport: everything that knows starlette and uvicorn is in here."""
