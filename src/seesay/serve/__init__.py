"""A page for people and an HTTP API for programs, on FastAPI (the extra `serve`).

`app.py` puts the parts together: `guard.py` is around all requests, `bodies.py` and `options.py` read them,
`service.py` waits for the workers of `batcher.py`, `answers.py` writes the JSON.
"""
