"""The status page in a real Chromium: what an operator sees of an outage, from the real lb and a real Consul."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from lb.status import page
from tests.harness.backend import HttpBackend
from tests.harness.browser import Browser, Tab, find
from tests.harness.consul import ConsulAgent, KeySpace
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.test_glitches import start_failing

CONF = """
http {
    status_listen 127.0.0.1:@status@;
    upstream shop { server 127.0.0.1:@one@ max_fails=2 fail_timeout=2; server 127.0.0.1:@two@; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://shop; } }
}
"""
FOLLOWS = """
http {
    status_listen 127.0.0.1:@status@;
    upstream shop {
        server 127.0.0.1:1;
        upsync @path@ upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=off;
        upsync_dump_path dump.conf;
    }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://shop; } }
}
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("no Chromium here: `.ci/install-packages browser` installs Debian's")
    made = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page that asks nobody but the status port, and has nothing to complain about."""
    made = browser.tab()
    yield made
    complaints, urls = list(made.complaints), list(made.requests)
    made.close()
    assert complaints == []
    assert (
        len({re.sub(r"(http://127\.0\.0\.1:\d+)/.*", r"\1", url) for url in urls if not url.startswith("data:")}) == 1
    )


@pytest.fixture
def load() -> Iterator[Callable[[str], None]]:
    """Requests to a URL, some each second, until the end of the test."""
    over = threading.Event()
    threads = []

    def run(url: str) -> None:
        while not over.wait(0.05):
            requests.get(url, timeout=60, headers={"Connection": "close"})

    def start(url: str) -> None:
        threads.append(threading.Thread(target=run, args=(url,), daemon=True))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join(60)


def url(lb: Lb, path: str = "") -> str:
    return f"http://127.0.0.1:{lb.port('status')}/{path}"


def test_a_server_goes_down_and_comes_back(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], tab: Tab, load: Callable[[str], None]
) -> None:
    one, two = http_backend(), http_backend()
    lb = run_lb(CONF, one=one.port, two=two.port)
    tab.go(url(lb))
    tab.wait_text("All well", "#headline")
    assert tab.eval("document.title").startswith("✓ All well")
    assert "2 of 2 servers in 1 upstream up, 1 of 1 worker ready" in tab.text("#summary")
    load(f"http://127.0.0.1:{lb.port('http')}/")
    tab.wait(lambda: re.search(r"Requests\s+[1-9]", tab.text("#tiles")) is not None, "requests to be counted")
    one.stop()
    tab.wait_text("Degraded: 1 of 2 servers failed", "#headline")
    tab.wait_text("1 of 2 servers carries the load", "#problems")
    said = tab.text("#problems")
    assert re.search(rf"127\.0\.0\.1:{one.port} failed 2 times, in shop\s+since \d\d:\d\d:\d\d \(\d+ s\)", said), said
    assert tab.eval("document.title").startswith("▲ Degraded")
    tab.wait_text("lb skips it until", "#problems")
    tab.wait(lambda: re.search(r"\(([3-9]|\d\d+) s\)", tab.text("#problems")) is not None, "the time to go on")
    again = http_backend(None, one.port)
    tab.wait_text("All well", "#headline")
    assert tab.eval("document.querySelector('#problems').hidden") is True
    assert f"127.0.0.1:{again.port} failed" in tab.text("#seen") and "Over after" in tab.text("#seen")


def test_a_glitch(tmp_path: Path, world, connect, tab: Tab) -> None:
    lb = start_failing(tmp_path, world)
    lb.expect_log("glitch: The kernel")
    tab.go(url(lb))
    tab.wait_text("All well", "#headline")
    assert "glitch" not in tab.text("#problems")
    (tmp_path / "epoll").touch()
    connect(lb.port("http")).recv_to_end()
    (tmp_path / "epoll").unlink()
    tab.wait_text("A glitch, 1 time: The kernel did not take a socket into epoll", "#problems")
    tab.wait_text("All well", "#headline")


def test_all_servers_down(run_lb: Callable[..., Lb], world, tab: Tab, load: Callable[[str], None]) -> None:
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    load(f"http://127.0.0.1:{lb.port('http')}/")
    tab.go(url(lb))
    tab.wait_text("Down: shop has no server left", "#headline")
    tab.wait(lambda: "502" in tab.text("#problems"), "what lb does about it")
    assert tab.eval("document.title").startswith("✕ Down")


def test_the_only_server_fails(run_lb: Callable[..., Lb], world, tab: Tab, load: Callable[[str], None]) -> None:
    """lb never skips it, so it is never down for lb; for its users it is."""
    lb = run_lb(CONF.replace("server 127.0.0.1:@two@;", ""), one=world.closed_port())
    tab.go(url(lb))
    tab.wait_text("All well", "#headline")
    load(f"http://127.0.0.1:{lb.port('http')}/")
    tab.wait_text("Down: shop fails", "#headline")
    tab.wait_text("is its only server: lb tries it for each request.", "#problems")
    assert "at least since" in tab.text("#problems") and "no server left" not in tab.text("#problems")
    assert "0 of 1 up" in tab.text("#upstreams") and "each try fails" in tab.text("#upstreams")


def test_consul_lost_and_back(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], consul_agent: ConsulAgent, tab: Tab
) -> None:
    keys = KeySpace(consul_agent, "page")
    servers = [http_backend() for _ in range(3)]
    for one in servers:
        keys.put("shop", one.address)
    lb = run_lb(FOLLOWS, path=keys.path("shop"))
    tab.go(url(lb))
    tab.wait_text("in sync, 1 worker", "#consul")
    tab.wait_text("All well", "#headline")
    keys.put("shop", servers[0].address, down=1)
    tab.wait_text("down by its list", "#upstreams")
    tab.wait_text("2 of 3 up", "#upstreams")
    keys.put("shop", servers[0].address)
    tab.wait_text("3 of 3 up", "#upstreams")
    consul_agent.stop()
    tab.wait_text("Degraded: Consul is lost", "#headline")
    tab.wait_text("shop serves with its last good list of 3 servers", "#problems")
    tab.wait_text("Next try in", "#problems")
    consul_agent.start()
    tab.wait_text("All well", "#headline", 60)
    assert "Over after" in tab.text("#seen")


def test_a_reload_that_fails_and_a_worker_that_dies(run_lb: Callable[..., Lb], world, tab: Tab) -> None:
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    tab.go(url(lb))
    tab.wait_text("no reload since", "#reload")
    lb.expect_log("unknown directive", "did you mean", "exited on signal 9")
    good = lb.file.read_text()
    lb.file.write_text(good + "lissten 1;\n")
    lb.command("-s", "reload")  # refuses by itself
    lb.signal(1)
    tab.wait_text("Degraded: reload failed", "#headline")
    tab.wait_text('unknown directive "lissten"', "#problems")
    assert "The old configuration serves." in tab.text("#problems")
    lb.file.write_text(good)
    lb.signal(1)
    tab.wait_text("without an error", "#reload")
    tab.wait_text("All well", "#headline")
    wait_for(lambda: len(lb.workers) == 1, "the old worker to end")
    lb.workers[0].kill()
    tab.wait_text("Worker 0 died: worker process", "#problems")
    tab.wait_text("It was replaced by pid", "#problems")
    tab.wait_text("All well", "#headline")


def test_lb_does_not_answer_and_comes_back(run_lb: Callable[..., Lb], world, browser: Browser) -> None:
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    tab = browser.tab()
    tab.go(url(lb))
    tab.wait_text("All well", "#headline")
    assert lb.stop() == 0
    tab.wait_text("lb does not answer", "#headline")
    tab.wait_text("stale since", "#live")
    assert "What stands below is old" in tab.text("#summary")
    assert tab.eval("document.title").startswith("✕ lb does not answer")
    lb.spawn()
    lb.wait_ready()
    tab.wait_text("All well", "#headline")
    assert tab.text("#live") == "live"
    tab.close()
    assert all("ERR_" in text for text in tab.complaints), tab.complaints  # of the browser, while nobody listened


HOSTILE = "<img src=x onerror=window.bad=1><script>window.bad=2</script>"


def test_text_from_outside_stays_text(run_lb: Callable[..., Lb], tab: Tab, world) -> None:
    text = CONF.replace("upstream shop", f'upstream "{HOSTILE}"').replace("http://shop", "http://127.0.0.1:1")
    lb = run_lb(text, one=world.closed_port(), two=world.closed_port())
    lb.expect_log("onerror=window.bad=3")
    tab.go(url(lb))
    tab.wait_text(HOSTILE, "#upstreams")
    lb.file.write_text("<img/src=x/onerror=window.bad=3> on;\n")
    lb.signal(1)
    tab.wait_text("<img/src=x/onerror=window.bad=3>", "#problems")
    assert tab.eval("window.bad === undefined && document.querySelectorAll('main img, main script').length === 0")


def names(count: int) -> str:
    return "".join(f"server 127.0.{number // 250}.{number % 250 + 1}:9;" for number in range(count))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_hundreds_of_servers_on_a_phone(run_lb: Callable[..., Lb], browser: Browser, dark: bool) -> None:
    """Nothing hangs over the edge at 360 px, long lists are folded, and the filter finds one server."""
    long = "a-very-long-name-of-an-upstream-that-somebody-thought-was-a-good-idea-" * 2
    text = f"""
    http {{
        status_listen 127.0.0.1:@status@;
        upstream big {{ {names(400)} }}
        upstream {long} {{
            least_conn; server 127.0.0.1:9 max_fails=3; server [::1]:65535 backup; server 127.0.0.2:9 down;
        }}
        server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://big; }} }}
    }}
    """
    lb = run_lb(text)
    requests.get(f"http://127.0.0.1:{lb.port('http')}/", timeout=60)  # tries them all
    tab = browser.tab(360, 780, dark=dark, mobile=True)
    tab.go(url(lb))
    tab.wait_text("big", "#upstreams")
    tab.wait(lambda: tab.eval("!document.querySelector('#problems').hidden"), "the problems")
    assert tab.eval(OVERFLOW) == 0
    assert tab.eval("document.querySelectorAll('#upstreams tr').length") < 60
    assert "Show all 400 servers" in tab.text("#upstreams")
    tab.eval("filter.value = '127.0.1.77'; filter.dispatchEvent(new Event('input'))")
    found = "[...document.querySelectorAll('#upstreams .server div > span:first-child')].map(one => one.innerText)"
    assert tab.eval(found) == ["127.0.1.77:9"]
    back = tab.eval("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", back)[:3])) > 384
    assert light is not dark
    assert tab.eval(OVERFLOW) == 0
    assert tab.complaints == []
    tab.close()


def test_asking_stops_while_nobody_looks(run_lb: Callable[..., Lb], world, tab: Tab) -> None:
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    tab.go(url(lb))
    tab.wait_text("live", "#live")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    tab.eval(hide % "true")
    tab.wait_text("paused", "#live")
    asked = len(tab.requests)
    tab.eval("new Promise(resolve => setTimeout(resolve, 2500))")
    assert len(tab.requests) == asked
    tab.eval(hide % "false")
    tab.wait_text("live", "#live")
    assert len(tab.requests) > asked


def contrast(tab: Tab, selector: str) -> float:
    """The ratio of WCAG between a text and the nearest background that is not transparent."""
    colours = tab.eval(
        f"""(() => {{
        let node = document.querySelector({json.dumps(selector)});
        const front = getComputedStyle(node).color;
        while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)') node = node.parentElement;
        return [front, getComputedStyle(node).backgroundColor];
    }})()"""
    )
    lights = sorted(map(luminance, colours))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


READ = ("#headline", "#summary", "#who", "#h-upstreams", ".upstream .kind", ".upstream thead th", "footer a")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(run_lb: Callable[..., Lb], world, tab: Tab, dark: bool) -> None:
    """4.5 : 1 at least (WCAG AA), real tables with heads, and a verdict that is read out."""
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    tab.scheme(dark)
    tab.go(url(lb))
    tab.wait_text("All well", "#headline")
    for state in ("good", "warn", "bad"):
        tab.eval(f"document.querySelector('#verdict').className = '{state}'")
        for selector in READ:
            assert contrast(tab, selector) >= 4.5, (state, selector)
    for state in ("good", "warn", "bad", "off"):
        tab.eval(f"document.querySelector('.upstream .say').className = 'say {state}'")
        assert contrast(tab, ".upstream .say") >= 4.5, state
    assert tab.eval("document.querySelector('#verdict').getAttribute('aria-live')") == "polite"
    every = "[...document.querySelectorAll('%s')].every(one => %s)"
    assert tab.eval(every % ("table", "one.caption && one.tHead.querySelector('th[scope=col]')"))
    assert tab.eval(every % ("tbody tr", "one.querySelector('th[scope=row]')"))


def test_the_policy_lets_nothing_else_in(run_lb: Callable[..., Lb], world, browser: Browser) -> None:
    lb = run_lb(CONF, one=world.closed_port(), two=world.closed_port())
    answer = requests.get(url(lb), timeout=60)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert "/status.json" in requests.get(url(lb), timeout=60, headers={"Accept": "text/plain"}).text
    tab = browser.tab()
    tab.go(url(lb))
    tab.eval("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.bad = 1'}))")
    assert tab.eval("window.bad === undefined")
    assert tab.eval("fetch('http://127.0.0.1:1/').then(() => 'asked', error => 'refused')") == "refused"
    assert any("Content Security Policy" in text for text in tab.complaints)
    tab.close()


def test_the_page_stands_alone() -> None:
    """Nothing in it names another place, and no text becomes markup."""
    text = Path(page.__file__).with_name("page.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {"http://www.w3.org/2000/svg"}
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bstyle=|\bon\w+="
    assert not re.search(markup, text)
