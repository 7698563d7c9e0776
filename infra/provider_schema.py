"""Writes provider_schema.json anew: the arguments and attributes of the resources that these files use, as the pinned providers have them.

    pip download --no-deps --dest FOLDER cdktf-cdktf-provider-google==16.12.1 cdktf-cdktf-provider-google-beta==16.12.1
    python infra/provider_schema.py FOLDER

Those packages (MPL-2.0) are generated from the providers' own schema (`terraform providers schema`) for CDK for Terraform; each says which provider it is
of. Names, types and what is required are taken from them, and nothing else. What they do not tell: which optional argument has a value of its own.
"""

import gzip
import io
import json
import re
import sys
import tarfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BETA = {"google_project_service_identity"}  # what only google-beta has
_NAMED = re.compile(r"/(\d+\.\d+\.\d+)/docs(?:/resources/\w+|/data-sources/\w+)?#(\w+) ")


def used(folder: Path) -> list[tuple[str, str]]:
    """(resource or data, type) of every block in a folder's files."""
    return sorted({pair for path in folder.glob("*.tf") for pair in re.findall(r'(?m)^(resource|data) "(\w+)"', path.read_text())})


def assembly(folder: Path, package: str) -> dict[str, Any]:
    """The types of a package: its .jsii file, in an archive in the wheel."""
    (wheel,) = folder.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as whole:
        (name,) = [name for name in whole.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(whole.read(name))) as inner:
            raw = inner.extractfile("package/.jsii")
            assert raw
            content = raw.read()
    found: dict[str, Any] = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)["types"]
    return found


def arguments(types: dict[str, Any], name: str, versions: set[str]) -> dict[str, Any]:
    """Arguments of a resource or a block: {name: {type | block, required}}, blocks with arguments of their own."""
    found = {}
    for item in types[name].get("properties", []):
        docs = item.get("docs", {})
        named = _NAMED.search(docs.get("remarks", "") + docs.get("summary", ""))
        if named is None:
            continue  # Terraform's own: count, for_each, lifecycle, provider ...
        versions.add(named[1])
        kind = json.dumps(item["type"])
        nested = re.search(r'"fqn": "(@cdktf/provider-[^"]+)"', kind)
        told: dict[str, Any] = {"required": True} if not item.get("optional") else {}
        if nested:
            told["block"] = "many" if '"array"' in kind else "one"
            told["arguments"] = arguments(types, nested[1], versions)
        else:
            scalar = re.search('"primitive": "(string|number|boolean)"', kind)
            of = "map " if '"map"' in kind else "list " if '"array"' in kind else ""
            told["type"] = of + (scalar[1] if scalar else "any")
        found[named[2]] = told
    return found


def attributes(types: dict[str, Any], name: str) -> list[str]:
    """What can be asked of a resource beside its arguments."""
    own = [item["name"] for item in types[name].get("properties", []) if not item.get("static")]
    return sorted({re.sub(r"(?<!^)(?=[A-Z])", "_", n).lower() for n in own if not n.endswith("Input") and n not in ("terraformLabels", "timeouts")})


def main() -> int:
    packages = {provider: assembly(Path(sys.argv[1]), f"cdktf_cdktf_provider_{provider.replace('-', '_')}") for provider in ("google", "google-beta")}
    versions: dict[str, set[str]] = {provider: set() for provider in packages}
    told: dict[str, Any] = {"resource": {}, "data": {}, "provider": {}}
    for kind, name in used(HERE):
        provider = "google-beta" if name in BETA else "google"
        types = packages[provider]
        wanted = ("data" if kind == "data" else "") + (name if kind == "data" or name in BETA else name.removeprefix("google_")).replace("_", "")
        (config,) = [n for n in types if n.rpartition(".")[2].lower() == f"{wanted}config"]
        told[kind][name] = {"provider": provider, "arguments": arguments(types, config, versions[provider]),
                            "attributes": attributes(types, config.removesuffix("Config"))}
    for provider, types in packages.items():
        (config,) = [n for n in types if n.endswith("ProviderConfig") and ".provider." in n]
        told["provider"][provider] = {"arguments": arguments(types, config, versions[provider])}
    told |= {"source": "cdktf-cdktf-provider-google and cdktf-cdktf-provider-google-beta 16.12.1, generated from the providers' schema",
             "taken": date.today().isoformat(), "versions": {provider: found.pop() for provider, found in versions.items() if len(found) == 1}}
    (HERE / "provider_schema.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
