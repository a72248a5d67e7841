# To be sourced: an apt state of its own in the folder $1, with the suites $2 … of Debian's mirror as this machine's apt knows it. Root is
# not needed, and the machine's own sources stay as they are; apt checks the signatures.
# Leaves the options for apt-get and apt-cache in `apt_options`. Exit status 1: this machine has no Debian mirror.
own_apt() {
    local folder=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg suite
    shift
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" {print $2; exit}')
    [[ -n $mirror && -r $keyring ]] || return 1
    mkdir -p "$folder/lists/partial" "$folder/archives/partial"
    for suite in "$@"; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done >"$folder/sources.list"
    apt_options=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
        -o "Dir::Cache=$folder" -o "APT::Sandbox::User=$(id -un)" -o Acquire::Languages=none -qq)
    # A mirror that lacks one suite still serves the others.
    apt-get "${apt_options[@]}" update 2>/dev/null || true
}
