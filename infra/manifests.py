r"""Write the Kubernetes objects of a stack as YAML, for people without Pulumi.

    python infra/manifests.py prod --image REGISTRY/spawn:VERSION@sha256:DIGEST \
        [--secrets metrics_key,backup_signing_key] > spawn.yaml
    kubectl apply --filename spawn.yaml

Secrets are named and never written: create their object first, as the first lines say.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
from kubernetes_objects import SECRET_NAME, USED_SECRETS, build_objects
from stack_config import StackConfig, has_placeholder, parse_stack_config

FOLDER = Path(__file__).parent
_PREFIX = "spawn:"


def read_stack_config(stack: str, image: str = "") -> StackConfig:
    """Return the settings of the file of a stack, with another image if one is named.

    Raises:
        FileNotFoundError: there is no such stack.
        msgspec.ValidationError: a key is unknown or malformed; the message names it.
    """
    document = msgspec.yaml.decode((FOLDER / f"Pulumi.{stack}.yaml").read_bytes())
    values: dict[str, Any] = document["config"]
    if image:
        values[f"{_PREFIX}service"]["image"] = image
    sections = StackConfig.__struct_fields__
    return parse_stack_config(
        {
            name.removeprefix(_PREFIX): value
            for name, value in values.items()
            if name.removeprefix(_PREFIX) in sections
        }
    )


def render(config: StackConfig, secrets: tuple[str, ...] = ()) -> str:
    """Return the objects as YAML documents, with the command that creates the secrets first."""
    objects = build_objects(config, dict.fromkeys(secrets, ""))
    written = [each for each in objects if each["kind"] != "Secret"]
    text = "---\n".join(msgspec.yaml.encode(each).decode() for each in written)
    if not secrets:
        return text
    files = " ".join(f"--from-file={name}" for name in secrets)
    namespace = config.kubernetes.namespace
    return (
        f"# First: kubectl create namespace {namespace}; kubectl create secret generic"
        f" {SECRET_NAME} --namespace {namespace} {files}\n{text}"
    )


def main() -> None:
    """Write the objects to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stack", help="name of a stack, such as prod")
    parser.add_argument(
        "--secrets", default="", help=f"secrets that the cluster has, of {','.join(USED_SECRETS)}"
    )
    parser.add_argument(
        "--image", default="", help="image with its digest, in place of that of the stack file"
    )
    options = parser.parse_args()
    secrets = tuple(name for name in options.secrets.split(",") if name)
    if unknown := set(secrets) - set(USED_SECRETS):
        parser.error(f"unknown secrets {', '.join(sorted(unknown))}")
    try:
        config = read_stack_config(options.stack, options.image)
    except (FileNotFoundError, msgspec.ValidationError) as error:
        parser.error(str(error))
    if has_placeholder(config.service.image):
        parser.error("the stack file has the placeholder of a digest: name the image with --image")
    sys.stdout.write(render(config, secrets))


if __name__ == "__main__":
    main()
