"""Compile protocol/tidewire.proto into the description that the server reads; ``--check`` compares.

Needs grpcio-tools, which is there where the tests run. What is written is a FileDescriptorProto in
protobuf's text format, so that a review shows what has changed, and no release of protobuf is
too new or too old for it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "protocol" / "tidewire.proto"
OUTPUT = ROOT / "src" / "tidewire" / "transports" / "codecs" / "tidewire.txtpb"


def compiled() -> FileDescriptorProto:
    """The description of SOURCE."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "set"
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                *(f"--proto_path={SOURCE.parent}", f"--descriptor_set_out={output}", SOURCE.name),
            ],
            check=True,
        )
        (file,) = FileDescriptorSet.FromString(output.read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")  # says nothing that the name does not
    return file


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if text_format.Parse(OUTPUT.read_text("utf-8"), FileDescriptorProto()) != compiled():
            sys.exit(f"{OUTPUT.name} is not what {SOURCE.name} says: run {sys.argv[0]}")
    else:
        OUTPUT.write_text(text_format.MessageToString(compiled()), "utf-8")
