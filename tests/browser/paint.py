"""From key to painted image, measured inside the page."""

from collections.abc import Iterable

from playwright.sync_api import Page

# The key's own time stamp; the frame in which another card stands there with its image decoded; the start of the frame
# after it, when that one has been painted: at most a frame more than it took.
WATCH = """() => {
  document.addEventListener("keydown", (event) => {
    const from = document.getElementById("card").dataset.item;
    const look = () => {
      const card = document.getElementById("card");
      const picture = card.querySelector(".picture");
      const isThere = card.dataset.item !== from && picture?.complete && picture.naturalWidth;
      if (!isThere) requestAnimationFrame(look);
      else picture.decode().then(() => requestAnimationFrame(() => {
        window.paints.push(performance.now() - event.timeStamp);
      }));
    };
    requestAnimationFrame(look);
  }, true);
}"""


def watch_paints(page: Page, *, latency_ms: float = 0) -> None:
    """From here on each key that brings a card is timed; each request takes so much longer."""
    page.evaluate(WATCH)
    if latency_ms:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": latency_ms, "downloadThroughput": -1, "uploadThroughput": -1},
        )


def measure_paints(page: Page, *, keys: Iterable[str], pause_ms: float) -> list[float]:
    """Press one key after the other, each when the image after the last is painted and a pause is over."""
    page.evaluate("() => { window.paints = []; }")
    for number, key in enumerate(keys, start=1):
        page.keyboard.press(key)
        page.wait_for_function("(number) => window.paints.length >= number", arg=number)
        page.wait_for_timeout(pause_ms)
    found: list[float] = page.evaluate("() => window.paints")
    return found
