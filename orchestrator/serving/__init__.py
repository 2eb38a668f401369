"""The report, live, as a small web page on loopback: `isoflop serve`.

    server.py    a socket on 127.0.0.1, and the loop
    site.py      WSGI: who is let in, which page answers
    guard.py     token, Host, Origin, and the headers of every answer
    live.py      the report, made anew when something was committed
    sql.py       a query in a process of its own, with limits
    confined.py  that process

Nothing here writes to the store, and no path is ever made from what a browser sends.
"""
