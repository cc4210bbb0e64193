# SPDX-License-Identifier: GPL-2.0
#
# Wisp: driver, library and command. "make help" lists what can be made. All
# that is built goes into build/ (or BUILD=, an absolute path).

BUILD := $(CURDIR)/build
PREFIX := /usr/local
LAB := svm
LAB_CHOSEN := $(filter command line,$(origin LAB))
export BUILD LAB

# Kernels built or fetched for the tests; a folder that outlives BUILD saves time.
WISP_CACHE ?= $(BUILD)
export WISP_CACHE

# The running kernel's headers, or else the newest ones installed.
KDIR := $(or $(wildcard /lib/modules/$(shell uname -r)/build),$(shell \
	ls -d /lib/modules/*/build 2>/dev/null | sort -V | tail -n 1))
KVER = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
	$(KDIR)/include/generated/utsrelease.h)

# One copy of the sources, as links, per kernel and kind of build.
MODULE_DIR = $(BUILD)/module-$(KVER)$(if $(DEBUG),-debug)
PLANTED_DIR = $(BUILD)/planted-$(KVER)
# RUNNER: selftests/lab/in-chroot, for a kernel that wants another compiler.
KBUILD = $(RUNNER) $(MAKE) -C $(KDIR) $(if $(DEBUG),WISP_DEBUG=1)

# What of the kernel's source is needed to test: nothing of it is in this tree.
LINUX := $(BUILD)/linux
LINUX_TARBALL = $(lastword $(sort $(wildcard /usr/src/linux-source-*.tar.xz)))
LINUX_FILES := scripts/checkpatch.pl scripts/spelling.txt \
	scripts/const_structs.checkpatch scripts/kernel-doc \
	tools/testing/selftests/kselftest.h \
	tools/testing/selftests/kselftest_harness.h \
	tools/testing/selftests/lib.mk
KSELFTEST := $(LINUX)/tools/testing/selftests
USERSPACE = $(MAKE) -C userspace BUILD=$(BUILD)
SELFTESTS = $(MAKE) -C selftests BUILD=$(BUILD) KSELFTEST=$(KSELFTEST)

# The lab boots its own choice of kernel, which need not be KDIR's.
FOR_LAB = $(if $(filter debug%,$(LAB)),DEBUG=1 KDIR=$$(selftests/lab/debug-kernel --path),\
	KDIR=/lib/modules/$$(selftests/lab/kernel)/build)

# Which LAB= a target takes.
LABS := svm bochs-svm vmx debug debug-vmx
LABS_lab := $(LABS)
LABS_shell := $(LABS)
# Random code takes down the host there: testing.rst.
LABS_fuzz := $(filter-out bochs-svm,$(LABS))
LABS_demo := $(LABS) host
LABS_check := $(LABS) host
LABS_bench := svm bochs-svm vmx host
LABS_bench-long := $(filter-out host,$(LABS_bench))
$(foreach target,$(MAKECMDGOALS),$(if $(LABS_$(target)),$(if \
	$(filter $(LABS_$(target)),$(LAB)),,$(error \
	make $(target): no LAB=$(LAB); there are: $(LABS_$(target))))))

.PHONY: all module userspace selftests planted install install-user deb clean help \
	debug-kernel check check-debug check-kernels check-long fuzz demo shell \
	bench bench-long lab

all: module userspace

help:
	@echo 'all         module, library and command (the default)'
	@echo 'module      wisp.ko for KDIR=$(KDIR); DEBUG=1: with the ledger'
	@echo 'userspace   library and command'
	@echo 'selftests   test programs'
	@echo 'install     all of "all"; DESTDIR, PREFIX'
	@echo 'deb         build/wisp.deb: all of it, the module to be built by dkms'
	@echo 'demo        a stock Linux in Wisp, in the lab LAB=svm'
	@echo 'check       all tests; CHECKS="static lab ...": some; LAB=vmx: all in one lab'
	@echo 'check-debug the suites, and faults injected, on a debug kernel'
	@echo 'check-kernels the suites on the newest kernel of trixie-backports; as root'
	@echo 'debug-kernel that kernel, which takes 10 to 15 minutes to build'
	@echo 'fuzz        without end: FUZZ="state", "ioctls --seed 7", "code" (the default)'
	@echo 'check-long  suites of races, lifetimes and hosts again and again; debug-vmx'
	@echo 'bench       Wisp beside KVM: build/bench.json, bench.svg; LAB=vmx: one lab of three'
	@echo 'bench-long  how its costs grow: build/bench-long.json, bench-long.svg'
	@echo 'shell       a shell in the lab LAB=svm, with wisp.ko loaded'
	@echo 'clean       remove $(BUILD)'
	@echo 'LAB= is one of: $(LABS)'
	@echo '            for demo, check and bench host, too, which is this machine itself'
	@echo '            for fuzz: $(LABS_fuzz)'
	@echo '            for bench: $(LABS_bench)'

# $(call copy,FILES,FOLDER): links, without those whose source has gone
copy = mkdir -p $(2) && find $(2) -xtype l -delete && cp -rsf $(1) $(2)

module:
	@test -d '$(KDIR)' || { echo 'no kernel headers (linux-headers-amd64)'; exit 1; }
	@echo 'KDIR $(KDIR)$(if $(DEBUG), (debug))'
	@$(call copy,$(addprefix $(CURDIR)/,Kbuild module uapi),$(MODULE_DIR))
	+$(KBUILD) M=$(MODULE_DIR) modules

planted:
	@$(call copy,$(CURDIR)/selftests/lab/planted/.,$(PLANTED_DIR))
	+$(KBUILD) M=$(PLANTED_DIR) modules

userspace:
	+$(USERSPACE)

selftests: userspace $(LINUX)/stamp
	+$(SELFTESTS)

$(LINUX)/stamp: $(LINUX_TARBALL)
	@test -n '$<' || { echo 'no kernel source (linux-source)'; exit 1; }
	@echo 'unpacking from $<'
	@mkdir -p $(LINUX)
	tar -xJf $< -C $(LINUX) --strip-components=1 \
		$(addprefix $(basename $(basename $(notdir $<)))/,$(LINUX_FILES))
	@touch $@

# ---- installation -----------------------------------------------------------

# /dev/wisp is for the group that sysusers.d makes.
LIBDIR := $(PREFIX)/lib
install: all install-user
	install -D -m 644 $(MODULE_DIR)/wisp.ko \
		$(DESTDIR)/lib/modules/$(KVER)/updates/wisp.ko
ifeq ($(DESTDIR),)
	depmod $(KVER)
	ldconfig
	systemd-sysusers wisp.conf
	-udevadm control --reload
endif

# What is not the module.
install-user: userspace
	+$(USERSPACE) install DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR)
	install -d $(DESTDIR)/usr/lib/udev/rules.d $(DESTDIR)/usr/lib/sysusers.d
	echo 'KERNEL=="wisp", GROUP="wisp", MODE="0660"' \
		>$(DESTDIR)/usr/lib/udev/rules.d/60-wisp.rules
	echo 'g wisp -' >$(DESTDIR)/usr/lib/sysusers.d/wisp.conf

# Of a version that dkms.conf has; the module is built where it is installed.
DEB_ROOT := $(BUILD)/deb
deb:
	rm -rf $(DEB_ROOT)
	+@$(MAKE) --no-print-directory install-user DESTDIR=$(DEB_ROOT) PREFIX=/usr \
		LIBDIR=/usr/lib/$$($(CC) -print-multiarch)
	userspace/packaging/deb $(DEB_ROOT) $(BUILD)/wisp.deb

clean:
	rm -rf $(BUILD)

# ---- the lab ----------------------------------------------------------------

lab:
	$(if $(filter debug%,$(LAB)),@selftests/lab/debug-kernel >/dev/null)
	+@$(MAKE) --no-print-directory module userspace $(FOR_LAB)
	$(if $(filter bochs-svm %vmx,$(LAB)),@selftests/lab/build-bochs >/dev/null)

shell: lab
	@echo 'The lab: wisp.ko is loaded; "exit" powers off.'
	selftests/lab/run --lab $(LAB) --interactive -- sh

# Headers may only just have been installed: hence the second make.
demo:
	@echo 'demo: [1/4] packages'
	@selftests/lab/packages demo $(LAB)
	@echo 'demo: [2/4] build'
	+@$(MAKE) --no-print-directory -s $(if $(filter host,$(LAB)),all,lab)
	@selftests/lab/demo --lab $(LAB)

bench:
	@selftests/lab/packages bench
	+@$(MAKE) --no-print-directory $(if $(filter host,$(LAB)),module,lab)
	+@$(MAKE) --no-print-directory selftests
	selftests/lab/bench $(if $(LAB_CHOSEN),--lab $(LAB)) $(BENCH_FLAGS)

bench-long: BENCH_FLAGS := --again
bench-long: bench
	selftests/lab/bench --curves

# ---- the tests --------------------------------------------------------------

check:
	@selftests/lab/packages $(if $(filter debug%,$(LAB)),check-debug,check)
	@selftests/check $(or $(CHECKS),$(if $(LAB_CHOSEN),build $(LAB)))

check-debug:
	@selftests/lab/packages check-debug
	@selftests/check check-debug

debug-kernel:
	@selftests/lab/debug-kernel

check-kernels:
	@selftests/lab/packages check-kernels
	@selftests/check check-kernels

# Another seed each time, and no end, where FUZZ does not say otherwise.
FUZZ ?= code
fuzz: lab
	+@$(MAKE) --no-print-directory selftests
	selftests/lab/run --lab $(LAB) --timeout 1000000 -- \
		selftests/fuzz/$(firstword $(FUZZ)) --seed $$(date +%s) --seconds 0 \
		$(wordlist 2,99,$(FUZZ))

check-long:
	@selftests/check check-long
