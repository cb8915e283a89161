"""The chart's templates, rendered with several values by render.go, and what must hold of every outcome.

usage: check.py RENDERER CHART      (RENDERER: render.go, compiled)
"""
import json
import subprocess
import sys

import yaml

renderer, chart = sys.argv[1:]
defaults = yaml.safe_load(open(f"{chart}/values.yaml"))
about = yaml.safe_load(open(f"{chart}/Chart.yaml"))


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {k: merged(base[k], over[k]) if k in base and k in over else over.get(k, base.get(k)) for k in {**base, **over}}


def rendered(name, over):
    context = {"Values": merged(defaults, over), "Release": {"Name": name, "Namespace": "default", "Service": "Helm"},
               "Chart": {"Name": about["name"], "AppVersion": about["appVersion"]}}
    out = subprocess.run([renderer, f"{chart}/templates"], input=json.dumps(context), text=True, capture_output=True)
    assert out.returncode == 0, out.stderr
    docs = [d for d in yaml.safe_load_all(out.stdout) if d]
    return {d["kind"]: d for d in docs}


def check(docs):
    """What Kubernetes would refuse, or what would never work."""
    deployment, service = docs["Deployment"], docs["Service"]
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    container, = pod["containers"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"]["matchLabels"], service["spec"]["selector"]):
        assert selector.items() <= labels.items(), "a selector that does not find the Pods"
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert f"--port={ports['http']}" in container["args"] and "--host=0.0.0.0" in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert container["startupProbe"]["failureThreshold"] >= 1
    assert all(isinstance(a, str) for a in container["args"]), "an argument that is no string"
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert all(len(v) == 2 for v in pod["volumes"]), "a volume is a name and one source"
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert int(next(a for a in container["args"] if a.startswith("--drain-timeout=")).split("=")[1]) < pod["terminationGracePeriodSeconds"]
    for doc in docs.values():
        assert doc["metadata"]["name"] and len(doc["metadata"]["name"]) <= 63
    return pod, container


pod, container = check(rendered("a", {}))
assert "env" not in container and not any(a.startswith("--model") for a in container["args"])
assert "ServiceMonitor" not in rendered("a", {})

docs = rendered("qwen", {
    "model": {"file": "qwen 7b.gguf", "name": "qwen", "volume": {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}},
    "args": ["--parallel=16", "--ctx=32768"], "apiKeySecret": "keys", "runtimeClassName": "nvidia", "imagePullSecrets": [{"name": "registry"}],
    "resources": {"limits": {"nvidia.com/gpu": 1}}, "serviceMonitor": {"enabled": True}, "podAnnotations": {"a": "b"}, "nodeSelector": {"gpu": "t4"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "drainSeconds": 120, "startupSeconds": 60,
    "service": {"annotations": {"c": "d"}}})
pod, container = check(docs)
assert "--model=/models/qwen 7b.gguf" in container["args"] and "--ctx=32768" in container["args"]
assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "api-key"}
assert container["resources"]["limits"] == {"memory": "2Gi", "nvidia.com/gpu": 1} and "requests" in container["resources"]
assert pod["runtimeClassName"] == "nvidia" and pod["nodeSelector"] == {"gpu": "t4"} and pod["tolerations"] and pod["imagePullSecrets"]
assert docs["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= docs["Service"]["metadata"]["labels"].items()
assert docs["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == docs["Service"]["spec"]["ports"][0]["name"]
for name, probe in container.items():
    assert not name.endswith("Probe") or "scheme" not in probe["httpGet"]

docs = rendered("tls", {"tlsSecret": "cert", "serviceMonitor": {"enabled": True}})
pod, container = check(docs)
assert "--ssl-cert-file=/tls/tls.crt" in container["args"] and "--ssl-key-file=/tls/tls.key" in container["args"]
assert all(probe["httpGet"]["scheme"] == "HTTPS" for name, probe in container.items() if name.endswith("Probe"))
assert {"name": "tls", "secret": {"secretName": "cert"}} in pod["volumes"]
assert docs["ServiceMonitor"]["spec"]["endpoints"][0]["scheme"] == "https"
check(rendered("n" * 100, {}))
print("helm chart: ok")
