"""The web page and the HTTP API, on FastAPI (the extra `serve`).

A request passes `guard.py` (access, limits), is read by `bodies.py` and `options.py`, and waits in
`service.py` for the workers of `batcher.py`; `answers.py` writes the JSON. `app.py` joins these parts.
"""
