"""Checks deny.toml's rules on what `cargo metadata` says: declared licences, banned crates, sources.

Less than cargo-deny: it believes the `license` field and reads no licence texts. Python 3.11 or newer, nothing else.
"""

import json
import re
import subprocess
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met by allowed licences. Old manifests write `/` for OR."""
    words = re.findall(r"\(|\)|\bAND\b|\bOR\b|[\w.+-]+(?: WITH [\w.-]+)?", expression.replace("/", " OR "))

    def either():
        fits = both()
        while words and words[0] == "OR":
            words.pop(0)
            fits = both() or fits
        return fits

    def both():
        fits = one()
        while words and words[0] == "AND":
            words.pop(0)
            fits = one() and fits
        return fits

    def one():
        word = words.pop(0)
        if word != "(":
            return word in allowed
        fits = either()
        words.pop(0)
        return fits

    return either()


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    for target in rules["graph"]["targets"]:
        command += ["--filter-platform", target]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    allowed, banned = set(rules["licenses"]["allow"]), {ban["crate"] for ban in rules["bans"]["deny"]}
    strangers = [package for package in packages if package["source"] is not None]
    faults = []
    for package in strangers:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if not licence:
            faults.append(f"{name} declares no licence (file: {package['license_file']})")
        elif not is_allowed(licence, allowed):
            faults.append(f"{name} has the licence {licence}")
        if package["name"] in banned:
            faults.append(f"{name} is banned")
        if package["source"] != CRATES_IO:
            faults.append(f"{name} comes from {package['source']}")
    for fault in faults:
        print(fault)
    print(f"{len(strangers)} crates, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
