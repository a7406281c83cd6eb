#!/usr/bin/env python3
"""Record how a node agent carries pods, and compare two recordings.

  parity.py record OUT_DIR [NAME...]   run the scenarios against the node and write one JSON file each
  parity.py diff REF_DIR NEW_DIR       compare: a line for each difference, and a count at the end
  parity.py list

A recording holds, per scenario: the pod's distinct status summaries in order, its final status, the events
(type, reason, message), what the agent asked of the container runtime (sandbox and container config), the
pod's cgroup values, and what commands inside the container print. `diff` compares what must not depend on
timing: the final summary, the set of event reasons, the runtime config, cgroups and the printed text.

Needs: an API server with admin kubeconfig (KUBECONFIG), one node (NODE, default vm), crictl on that node.
Python's standard library only.
"""
import base64, http.client, json, os, re, ssl, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

NODE = os.environ.get("NODE", "vm")
CRICTL = os.environ.get("CRICTL", "crictl")
NODE_IP = os.environ.get("NODE_IP", subprocess.run("ip -4 -o addr show scope global | awk '!/cni|flannel/{print $4; exit}' | cut -d/ -f1", shell=True, capture_output=True, text=True).stdout.strip())
CRI = os.environ.get("CRI", "unix:///run/containerd/containerd.sock")
# The cgroup that the agent's `kubepods` lies in, where that is not the root: as if it were not there.
CGROUP_ROOT = os.environ.get("CGROUP_ROOT", "")
IMAGE = os.environ.get("IMAGE", "docker.io/library/busybox:1.35")

# ---------------------------------------------------------------- API
class Api:
    def __init__(self, path):
        t = open(path).read()
        g = lambda k: re.search(k + r": (\S+)", t).group(1)
        self.host = g("server").split("//")[1]
        with tempfile.TemporaryDirectory() as files:
            def f(key):
                p = os.path.join(files, key)
                with open(p, "wb") as file: file.write(base64.b64decode(g(key)))
                return p
            self.ctx = ssl.create_default_context(cafile=f("certificate-authority-data")); self.ctx.check_hostname = False
            self.ctx.load_cert_chain(f("client-certificate-data"), f("client-key-data"))
        self.local = threading.local()
    def conn(self): return http.client.HTTPSConnection(self.host, context=self.ctx, timeout=900)
    def call(self, method, url, body=None, ctype="application/json", ok=True):
        if not hasattr(self.local, "c"): self.local.c = self.conn()
        for again in (True, False):
            try:
                self.local.c.request(method, url, json.dumps(body) if body is not None else None, {"Content-Type": ctype})
                r = self.local.c.getresponse(); d = json.loads(r.read() or b"{}"); break
            except (http.client.HTTPException, OSError):
                self.local.c = self.conn()
                if not again: raise
        if r.status >= 300 and r.status != 404 and ok: raise RuntimeError(f"{method} {url}: {r.status} {d.get('message')}")
        return d

# ---------------------------------------------------------------- scrubbing what is bound to change
def scrub(s, ids):
    for k, v in ids.items():
        if k: s = s.replace(k, v)
    s = re.sub(r"[0-9a-f]{64}", "<id>", s)
    s = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uid>", s)
    s = re.sub(r"(?<![\d.])10\.244\.\d+\.\d+", "<podip>", s)
    s = re.sub(r"(/containers/[^/\"]+/)[0-9a-f]{8}\b", r"\1<x>", s)
    s = re.sub(r"(service-ca\.crt)(\\n)?", "", s)
    s = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>", s)
    s = re.sub(r"\b\d+(\.\d+)?(ms|µs|s)\b", "<dur>", s)
    s = re.sub(r"kube-api-access-\w+", "kube-api-access-<x>", s)
    s = re.sub(r"Image size: \d+ bytes", "Image size: <n> bytes", s)
    return s

def state(cs):
    out = {}
    for key in ("state", "lastState"):
        st = cs.get(key) or {}
        for kind, v in st.items():
            v = v or {}
            out[key] = " ".join(x for x in (kind, v.get("reason", ""), f"exit={v['exitCode']}" if "exitCode" in v else "",
                                            f"signal={v['signal']}" if "signal" in v else "", v.get("message", "")) if x)
    return {"ready": cs.get("ready"), "started": cs.get("started"), "restarts": cs.get("restartCount"), **out}

def summary(pod):
    s = pod.get("status", {})
    return {"phase": s.get("phase"), "reason": s.get("reason"), "message": s.get("message"), "qosClass": s.get("qosClass"),
            "podIP": bool(s.get("podIP")), "hostIP": bool(s.get("hostIP")), "startTime": bool(s.get("startTime")),
            "conditions": {c["type"]: f"{c['status']} {c.get('reason','')}".strip() for c in s.get("conditions", [])},
            "init": {c["name"]: state(c) for c in s.get("initContainerStatuses", [])},
            "containers": {c["name"]: state(c) for c in s.get("containerStatuses", [])},
            "ephemeral": {c["name"]: state(c) for c in s.get("ephemeralContainerStatuses", [])}}

# ---------------------------------------------------------------- what the runtime was asked
def crictl(*a):
    p = subprocess.run([CRICTL, "-r", CRI, *a], capture_output=True, text=True, timeout=60)
    return p.stdout if p.returncode == 0 else ""

def runtime_view(uid):
    out = {"sandbox": None, "containers": {}}
    pods = json.loads(crictl("pods", "--label", f"io.kubernetes.pod.uid={uid}", "-o", "json") or "{}").get("items") or []
    if not pods: return out
    info = json.loads(crictl("inspectp", pods[0]["id"]) or "{}")
    cfg = info.get("info", {}).get("config", {}); cfg.pop("metadata", None)
    out["sandbox"] = cfg; out["sandboxes"] = len(pods)
    seen = json.loads(crictl("ps", "-a", "--label", f"io.kubernetes.pod.uid={uid}", "-o", "json") or "{}").get("containers") or []
    for c in seen:
        n = c["metadata"]["name"]
        if n in out["containers"]: continue
        ci = json.loads(crictl("inspect", c["id"]) or "{}"); k = ci.get("info", {}).get("config", {})
        k.pop("metadata", None)
        if "image" in k: k["image"] = {"user_specified_image": k["image"].get("user_specified_image")}
        k["envs"] = sorted(f"{e.get('key')}={e.get('value','')}" for e in k.get("envs", []) if not re.match(r"KUBERNETES_(PORT|SERVICE)", e.get("key", "")))
        k["mounts"] = sorted(k.get("mounts", []), key=lambda m: m.get("container_path", ""))
        out["containers"][n] = k
    return out

V1 = ["cpu/cpu.shares", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "memory/memory.limit_in_bytes", "pids/pids.max"]
V2 = ["cpu.weight", "cpu.max", "memory.max", "memory.min", "pids.max"]
def cgroups(uid):
    out = {}
    base = "/sys/fs/cgroup"
    v2 = os.path.exists(f"{base}/cgroup.controllers")
    roots = [base] if v2 else [f"{base}/{c}" for c in ("cpu", "memory", "pids")]
    for root in roots:
        for q in ("kubepods", "kubepods/burstable", "kubepods/besteffort", "kubepods.slice", "kubepods.slice/kubepods-burstable.slice", "kubepods.slice/kubepods-besteffort.slice"):
            for name in (f"pod{uid}", f"kubepods-pod{uid.replace('-','_')}.slice", f"kubepods-burstable-pod{uid.replace('-','_')}.slice", f"kubepods-besteffort-pod{uid.replace('-','_')}.slice"):
                d = f"{root}{CGROUP_ROOT}/{q}/{name}"
                if not os.path.isdir(d): continue
                for f in V2 if v2 else [x.split("/")[1] for x in V1 if root.endswith(x.split("/")[0])]:
                    try: out[f"{q}/pod {f}"] = open(f"{d}/{f}").read().strip()
                    except OSError: pass
    return out

# ---------------------------------------------------------------- record
def record(api, sc, outdir):
    ns = "parity-" + sc["name"]
    api.call("DELETE", f"/api/v1/namespaces/{ns}")
    for _ in range(120):
        if "uid" not in api.call("GET", f"/api/v1/namespaces/{ns}").get("metadata", {}): break
        time.sleep(.5)
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": ns, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
    for _ in range(120):
        if "uid" in api.call("GET", f"/api/v1/namespaces/{ns}/serviceaccounts/default").get("metadata", {}) and \
           "uid" in api.call("GET", f"/api/v1/namespaces/{ns}/configmaps/kube-root-ca.crt").get("metadata", {}): break
        time.sleep(.25)
    rec = {"name": sc["name"], "statuses": [], "final": None, "events": [], "runtime": None, "cgroups": {}, "printed": {}}
    stop = threading.Event(); latest = {}; lock = threading.Lock()
    def watch():
        c = api.conn(); c.request("GET", f"/api/v1/namespaces/{ns}/pods?watch=1&timeoutSeconds={int(sc['seconds']) + 60}"); r = c.getresponse()
        for line in r:
            if stop.is_set(): break
            e = json.loads(line); p = e["object"]
            if p["metadata"]["name"] != "p": continue
            s = summary(p); s["type"] = "DELETED" if e["type"] == "DELETED" else ("deleting" if p["metadata"].get("deletionTimestamp") else "")
            with lock:
                latest["pod"] = p
                if not rec["statuses"] or rec["statuses"][-1] != s: rec["statuses"].append(s)
    for o in sc.get("objects", []):
        api.call("POST", f"/api/v1/namespaces/{ns}/{o['kind'].lower()}s", {"apiVersion": "v1", **o})
    threading.Thread(target=watch, daemon=True).start(); time.sleep(.2)
    pod = json.loads(json.dumps(sc["pod"]).replace("@IMAGE@", IMAGE).replace("@NS@", ns))
    pod["metadata"] = {"name": "p", **pod.get("metadata", {})}
    pod["spec"].setdefault("nodeName", NODE)
    made = api.call("POST", f"/api/v1/namespaces/{ns}/pods", pod); uid = made["metadata"].get("uid", "")
    t0 = time.monotonic()
    def phase_of(): return latest.get("pod", {}).get("status", {}).get("phase")
    snapped = False
    def snap():
        rec["runtime"] = runtime_view(uid); rec["cgroups"] = cgroups(uid)
        live = json.loads(crictl("ps", "--label", f"io.kubernetes.pod.uid={uid}", "-o", "json") or "{}").get("containers") or []
        for cmd in sc.get("print", []):
            c = next((c for c in live if c["metadata"]["name"] == cmd.get("in", "c")), None)
            rec["printed"][cmd["sh"]] = crictl("exec", "-s", c["id"], "sh", "-c", cmd["sh"]).rstrip() if c else "<no container>"
    for at, action in sorted(sc.get("actions", {}).items()):
        while time.monotonic() - t0 < at: time.sleep(.05)
        verb, *rest = action
        if verb == "snap": snap(); snapped = True
        elif verb == "delete": api.call("DELETE", f"/api/v1/namespaces/{ns}/pods/p", {"gracePeriodSeconds": rest[0]} if rest else None)
        elif verb == "patch": api.call("PATCH", f"/api/v1/namespaces/{ns}/pods/p{rest[0]}", rest[1], rest[2] if len(rest) > 2 else "application/strategic-merge-patch+json")
        elif verb == "create": api.call("POST", f"/api/v1/namespaces/{ns}/{rest[0]['kind'].lower()}s", {"apiVersion": "v1", **rest[0]})
        elif verb == "update": api.call("PATCH", f"/api/v1/namespaces/{ns}/{rest[0]}", rest[1], "application/merge-patch+json")
    while time.monotonic() - t0 < sc["seconds"]:
        time.sleep(.1)
        if sc.get("until") and phase_of() == sc["until"]: time.sleep(1.5); break
    if not snapped: snap()
    ids = {CGROUP_ROOT: "", NODE_IP: "<nodeip>", uid: "<uid>", uid.replace("-", "_"): "<uid>", ns: "<ns>"}
    with lock: rec["final"] = rec["statuses"][-1] if rec["statuses"] else None
    ev = api.call("GET", f"/api/v1/namespaces/{ns}/events").get("items", [])
    rec["events"] = sorted({(e["type"], e["reason"], e.get("message", ""), (e.get("source") or {}).get("component") or e.get("reportingComponent", ""), (e.get("involvedObject") or {}).get("fieldPath", "")) for e in ev})
    stop.set()
    text = scrub(json.dumps(rec, indent=1, sort_keys=True), ids)
    open(f"{outdir}/{sc['name']}.json", "w").write(text + "\n")
    api.call("DELETE", f"/api/v1/namespaces/{ns}")
    print(f"{sc['name']}: {len(rec['statuses'])} statuses, {len(rec['events'])} events, final {rec['final'] and rec['final']['phase']}", flush=True)

# ---------------------------------------------------------------- diff
def flat(x, at=""):
    if isinstance(x, dict):
        for k, v in x.items(): yield from flat(v, f"{at}.{k}" if at else k)
        if not x: yield at, {}
    elif isinstance(x, list):
        for i, v in enumerate(x): yield from flat(v, f"{at}[{i}]")
        if not x: yield at, []
    else: yield at, x

# where the kernel and the runtime race (seen to differ between two recordings of one agent): not compared
RACY = {"oom": ("final.containers.c.state",)}
EMPTY = (None, "", False, 0, [], {})
def ordered(rec):
    """The kubelet gives DNS options in random order: sorted here, in the sandbox config and in resolv.conf."""
    dns = ((rec.get("runtime") or {}).get("sandbox") or {}).get("dns_config") or {}
    if dns.get("options"): dns["options"] = sorted(dns["options"])
    for k, v in (rec.get("printed") or {}).items():
        rec["printed"][k] = re.sub(r"(?m)^options (.*)$", lambda m: "options " + " ".join(sorted(m[1].split())), v)
    return rec

def compare(ref, new):
    out, racy, ref, new = [], RACY.get(ref['name'], ()), ordered(ref), ordered(new)
    for part in ("final", "runtime", "cgroups", "printed"):
        a, b = dict(flat(ref.get(part) or {})), dict(flat(new.get(part) or {}))
        for k in sorted(set(a) | set(b)):
            x, y = a.get(k), b.get(k)
            if x != y and f"{part}.{k}" not in racy and not (x in EMPTY and y in EMPTY): out.append(f"{part}.{k}: {x!r} != {y!r}")
    ra, rb = ({(e[0], e[1]) for e in r["events"] if e[3] in ("kubelet", "gantry")} for r in (ref, new))
    out += [f"event only in reference: {e}" for e in sorted(ra - rb)] + [f"event only in new: {e}" for e in sorted(rb - ra)]
    return out

def main():
    a = sys.argv[1:]
    if not a: sys.exit(__doc__)
    if a[0] == "diff":
        bad = same = 0
        for f in sorted(os.listdir(a[1])):
            if not f.endswith(".json"): continue
            if not os.path.exists(f"{a[2]}/{f}"): print(f"{f[:-5]}: not recorded"); bad += 1; continue
            d = compare(json.load(open(f"{a[1]}/{f}")), json.load(open(f"{a[2]}/{f}")))
            for line in d: print(f"{f[:-5]}: {line}"[:400])
            bad += bool(d); same += not d
        print(f"{same} scenarios the same, {bad} different"); sys.exit(bool(bad))
    from scenarios import SCENARIOS
    if a[0] == "list": print("\n".join(s["name"] for s in SCENARIOS)); return
    os.makedirs(a[1], exist_ok=True); api = Api(os.environ.get("KUBECONFIG", "/etc/kubernetes/super-admin.conf"))
    todo = [s for s in SCENARIOS if not a[2:] or s["name"] in a[2:]]
    def one(s):
        try: record(api, s, a[1])
        except Exception as e: print(f"{s['name']}: not recorded: {e!r}", flush=True)
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "4"))) as ex: list(ex.map(one, todo))
main()
