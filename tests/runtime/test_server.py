import subprocess
import sys

CODE = """
import sys
import fedra_ray.runtime.server
from fedra_ray.cli.compose import compose_named
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.fleet import Fleet
from fedra_ray.methods.create import create_method
from fedra_ray.config.paths import conf_dir

for method in sorted(file.stem for file in (conf_dir() / "method").glob("*.yaml")):
    config = compose_named("config", ExperimentConfig, [f"method={method}"])
    create_method(config, 12, Fleet(config, ("x",)))
    print(method)
print(sorted({"torch", "timm", "peft"} & set(sys.modules)))
"""


def test_a_server_starts_without_torch_whatever_the_method() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    *methods, loaded = result.stdout.splitlines()
    assert {"fedra", "depthfl", "headonly"} <= set(methods)
    assert loaded == "[]"
