#!/bin/sh
# Install the Debian packages named, where they are missing and apt is there; elsewhere say what is wanted.
command -v dpkg-query >/dev/null || { echo "Not Debian: provide what these packages hold: $*"; exit 0; }
missing=
for package; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed$' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
as_root=
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then as_root="sudo -n"; else
        echo "Missing packages, and no right to install them; ask an administrator for: apt-get install$missing"
        exit 0
    fi
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
