"""served.py - a server under test, and clients of it: what serve.py and recover.py share.  Python's standard library alone."""
import http.client, json, os, re, socket, subprocess, threading, time

TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """`strata serve` on a free port.  More arguments go to it as they are."""

    def __init__(self, strata, model, device, *more, env=None):
        self.log = []
        self.process = subprocess.Popen([strata, "serve", "--model", model, "--device", device, "--port", "0", *more],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        said = re.search(r":(\d+)/v1", self.process.stdout.readline())
        if not said:
            self.process.wait(30)
            time.sleep(0.1)
            raise SystemExit("the server did not start:\n" + "".join(self.log[-8:]))
        self.port = int(said[1])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("".join(line for line in self.log if " request " not in line)[-3000:])
        self.process.terminate()
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if not kind:
            assert status == 0, f"SIGTERM ended the server with {status}"

    def connect(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def send(self, path, body, timeout=120):
        c = self.connect(timeout)
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return c

    def post(self, path, body, timeout=120):
        c = self.send(path, body, timeout)
        r = c.getresponse()
        text = r.read()
        c.close()
        assert r.status == 200, (path, r.status, text[:400])
        return json.loads(text)

    def get(self, path):
        c = self.connect()
        c.request("GET", path)
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text

    def metrics(self):
        """{name: number}, of a name with labels the first."""
        found = {}
        for name, value in re.findall(r"^(strata_\w+)(?:\{[^}]*\})? (\S+)$", self.get("/metrics")[1], re.M):
            found.setdefault(name[7:], float(value))
        return found

    def engine(self):
        """The process id of the engine's process: the server's only child.  0: there is none now."""
        pids = []
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/children") as f:
                    pids += f.read().split()
            except OSError:
                pass
        return int(pids[0]) if pids else 0

    def settle(self, seconds=10):
        """Waits until nothing runs; what the gauges say then."""
        names = ("requests_running", "requests_waiting", "kv_blocks_used", "http_generations")
        until = time.monotonic() + seconds
        while True:
            m = self.metrics()
            left = {n: m[n] for n in names if m[n]}
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.05)


def cpu_seconds(pid):
    """(user, system) time of all threads."""
    with open(f"/proc/{pid}/stat") as f:
        field = f.read().rsplit(")", 1)[1].split()
    return int(field[11]) / TICK, int(field[12]) / TICK


def cpu_by_thread(pid):
    """{thread: seconds on a CPU}, from the scheduler's own count in nanoseconds."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                found[task] = int(f.read().split()[0]) * 1e-9
        except (OSError, IndexError):
            pass
    return found


def events(connection):
    """Objects of a stream of server-sent events, to its end."""
    r = connection.getresponse()
    if r.status != 200:
        raise AssertionError((r.status, r.read()[:400]))
    for line in r:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])
    connection.close()


def at_once(work, things):
    """work(thing) of all things at the same time; results in their order.  The first failure is raised."""
    out, failed, gate = [None] * len(things), [], threading.Barrier(len(things))

    def one(i):
        try:
            gate.wait()
            out[i] = work(things[i])
        except Exception as e:  # told by the caller's thread
            failed.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(things))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    return out
