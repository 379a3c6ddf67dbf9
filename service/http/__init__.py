"""The HTTP transport: all code that depends on starlette and uvicorn."""
