# shellcheck shell=bash
# Debian packages by way of a private apt configuration.
#
# It uses the machine's own mirror and adds the backports suites to it. The machine's sources and
# lists are not changed; only the installed packages (dpkg's status) are shared.

APT=$CACHE/apt
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# with_apt SET apt-COMMAND ARGUMENT...: runs it with the private sources SET.
with_apt() {
    local set=$1 command=$2
    shift 2
    DEBIAN_FRONTEND=noninteractive "$command" \
        -o Dir::Etc::sourcelist="$APT/$set.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$APT/$set-lists" -o Dir::Cache="$APT/$set-cache" \
        -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 "$@"
}

# machine_repositories: "URI SUITE COMPONENT" of each source that the machine's apt has for this
# release of Debian. apt shows only sources it has a list of, so one without lists fetches them,
# into a private folder.
machine_repositories() {
    # shellcheck disable=SC2016  # apt's own variables
    local query=(indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages')
    local found
    found=$(apt-get "${query[@]}" | debian_12_only)
    if [ -z "$found" ]; then
        mkdir -p "$APT/machine-lists/partial"
        apt-get -q -o Dir::State::lists="$APT/machine-lists" update >"$APT/update.log" 2>&1 || true
        found=$(apt-get -o Dir::State::lists="$APT/machine-lists" "${query[@]}" | debian_12_only)
    fi
    [ -n "$found" ] || die "apt has no source of Debian 12 packages that answers:" \
        "check the network and the sources under /etc/apt (apt's output is in $APT/update.log)."
    printf '%s\n' "$found"
}

debian_12_only() {
    awk '$2 ~ /^(bookworm|oldstable)(-updates|-security)?$/ && !seen[$0]++'
}

# write_apt_sources: "tools" is Debian 12 with its backports, "kernels" the backports of Debian 13
# alone, so that nothing of Debian 13 can ever be installed by mistake.
write_apt_sources() {
    local repositories mirror set
    for set in tools kernels; do
        mkdir -p "$APT/$set-lists/partial" "$APT/$set-cache/archives/partial"
    done
    repositories=$(machine_repositories)
    mirror=$(awk '$2 ~ /^(bookworm|oldstable)$/ && $3 == "main" { print $1; exit }' <<<"$repositories")
    [ -n "$mirror" ] || die "apt has no source of Debian 12's main packages: add one under /etc/apt."
    {
        awk -v key="$DEBIAN_KEYRING" '{ print "deb [signed-by=" key "]", $0 }' <<<"$repositories"
        echo "deb [signed-by=$DEBIAN_KEYRING] $mirror bookworm-backports main"
    } >"$APT/tools.list"
    echo "deb [signed-by=$DEBIAN_KEYRING] $mirror trixie-backports main" >"$APT/kernels.list"
}

# refresh_apt SET: fetches the lists, once in a run of the command.
refresh_apt() {
    local set=$1
    case " ${APT_REFRESHED-} " in *" $set "*) return ;; esac
    [ -n "${APT_REFRESHED-}" ] || write_apt_sources
    # By default apt only warns when a source does not answer.
    with_apt "$set" apt-get -q -o APT::Update::Error-Mode=any update >"$APT/update.log" 2>&1 ||
        die "the package lists could not be fetched: check the network (apt's output is in $APT/update.log)."
    APT_REFRESHED="${APT_REFRESHED-} $set"
}

# missing_packages PACKAGE...: those that are not installed.
missing_packages() {
    local installed package
    # dpkg-query prints an error for unknown names: those packages are missing, too.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    for package; do
        grep -qx "installed $package" <<<"$installed" || echo "$package"
    done
}

# install_packages RELEASE PACKAGE...: those that are missing, from Debian 12 or its backports.
install_packages() {
    local release=$1 missing
    shift
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    refresh_apt tools
    with_apt tools apt-get -q install -y --no-install-recommends -t "$release" "${missing[@]}" \
        >"$APT/install.log" 2>&1 </dev/null ||
        die "apt could not install ${missing[*]}: its output is in $APT/install.log."
}

# install_backports MINIMUM PACKAGE...: Debian 12's backport, unless one of that version is there.
install_backports() {
    local minimum=$1 package version wanted=()
    shift
    for package; do
        version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
        dpkg --compare-versions "${version:-0}" ge "$minimum" || wanted+=("$package")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    say "installing ${wanted[*]} from backports"
    refresh_apt tools
    with_apt tools apt-get -q install -y --no-install-recommends -t bookworm-backports "${wanted[@]}" \
        >"$APT/install.log" 2>&1 </dev/null ||
        die "apt could not install ${wanted[*]} from bookworm-backports: its output is in $APT/install.log."
}
