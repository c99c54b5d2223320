"""How often somebody may try: logins, links, invitations. Counted in the memory of the one web process."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque

WINDOW_S = 300.0
_MOST_COUNTED = 10_000  # made-up names must not fill the memory


class Limits:
    """Tries per key within the last five minutes. A try that is refused does not count, so that waiting helps."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._counting = threading.Lock()

    def take(self, key: str, *, most: int) -> float:
        """Count one try. 0 if it is allowed, else the seconds to wait until one is."""
        now = time.monotonic()
        with self._counting:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while tries and now - tries[0] > WINDOW_S:
                tries.popleft()
            if len(tries) >= most:
                return WINDOW_S - (now - tries[0])
            tries.append(now)
            if len(self._tries) > _MOST_COUNTED:
                self._tries.popitem(last=False)
            return 0.0

    def forget(self, key: str) -> None:
        """Somebody got in: what they mistyped before is not held against them."""
        with self._counting:
            self._tries.pop(key, None)

    def __len__(self) -> int:
        return len(self._tries)


def key_of_address(address: str | None) -> str:
    """An IPv4 address itself; of IPv6 the /64, which is what one customer holds."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
