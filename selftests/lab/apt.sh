# SPDX-License-Identifier: GPL-2.0
#
# For scripts that want packages of a suite which is not this machine's: apt with
# lists of its own, so that nothing of the machine's own packages is touched.

# apt_begin FOLDER deb|deb-src SUITE LOG: reads the suite's lists into FOLDER, from
# the machine's mirror. False where that failed, see LOG.
apt_begin() {
	local site

	apt=$1
	# No path may be /dev/null: as root, apt changes its mode.
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources.d"
	# apt's variables, not the shell's.
	# shellcheck disable=SC2016
	site=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' \
		'Identifier: Packages' | sed -n 's/^Debian Debian //p' | head -n 1)
	echo "$2 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${site:-http://deb.debian.org/debian} $3 main" >"$apt/sources.d/suite.list"
	touch "$apt/status"
	# update is content with a list that it could not get.
	apt_with apt-get -o APT::Update::Error-Mode=any update >"$4" 2>&1
}

# apt_with apt-get|apt-cache ARGUMENTS: there
apt_with() {
	local tool=$1
	shift
	(cd "$apt" && "$tool" -q -o Acquire::Retries=3 -o APT::Sandbox::User=root \
		-o Dir::Etc::sourcelist="$apt/none" -o Dir::Etc::sourceparts="$apt/sources.d" \
		-o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
		-o Dir::Cache="$apt/cache" "$@")
}
