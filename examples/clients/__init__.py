"""Real client libraries against a server that refuses everything: what each does, and tells.

    cd examples && python -m clients                  # everything, and docs/clients.md anew
    cd examples && python -m clients openai stripe    # these libraries only, printed

A case is one library and one call of it (`clients/cases/`). Each runs in a process of its own, in
a virtual environment with the library as its users install it. There, every address leads to the
refusing server, and the time that a client would sleep is counted instead of slept.
"""
