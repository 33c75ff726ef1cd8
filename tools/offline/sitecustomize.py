"""Python imports this by itself when its folder is on PYTHONPATH: then nothing reaches a network beyond this machine."""
import sys

def _stay_home(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple): host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"): host = args[0]
    else: return
    host = host.decode() if isinstance(host, bytes) else host
    if host and host not in ("localhost", "::1", "0.0.0.0") and not host.startswith("127."):
        raise OSError(f"the network is off in this run: {host!r} was asked for")

sys.addaudithook(_stay_home)
