# SPDX-License-Identifier: GPL-2.0
"""Boots a stock kernel with wisp.ko inside an emulator and judges the boot.

One Boot is one start of the emulator. The kernel's log is the first serial
port, the programs' terminal is the second. What goes in and what comes out is
kept in build/lab/<name>/ where the boot was red.
"""

import collections
import contextlib
import functools
import glob
import lzma
import os
import re
import shlex
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time

import bochs

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD") or os.path.join(TREE, "build")
# Kernels that were built or fetched: many build folders can share them.
CACHE = os.environ.get("WISP_CACHE") or BUILD

# The lab's own exit statuses; anything else is the command's.
TIMEOUT, RED = 124, 125

# Any of these in the kernel's log, once wisp.ko is about to be loaded, is red.
SPLAT = re.compile("|".join([
    r"WARNING:", r"BUG:", r"BUG at", r"Oops", r"Kernel panic", r"Call Trace:",
    r"general protection fault", r"invalid opcode:", r"unchecked MSR",
    r"soft lockup", r"hard LOCKUP", r"blocked for more than",
    r"rcu.*(stall|starved)", r"INFO: (task|possible|suspicious|trying)",
    r"possible (recursive|circular|irq)", r"scheduling while atomic",
    r"refcount_t:", r"list_(add|del) corruption", r"(UB|KA|KC|KM)SAN:",
    r"kmemleak:", r"ODEBUG:", r"bad page", r"Bad page", r"stack-protector",
    r"messages dropped", r"Objects remaining in", r"still has objects",
]))
# A test that asks for the backtraces of all CPUs says when it has them (host/nmi.c).
# All else in between is as red as ever.
ASKED = re.compile(r"sysrq: Show backtrace of all active CPUs\n.*?lab: backtraces end",
                   re.S)
# quiet, or the serial console is half of the boot; warnings still show.
CMDLINE = ("console=ttyS0,115200 quiet loglevel=5 panic=-1 no_timer_check"
           " printk.devkmsg=on cryptomgr.notests")
# What guest/io loads: it is in /io of each lab.
IO_MODULES = ["brd", "vhost_vsock"]
# What lib/save makes a disk of: in /disk.
DISK_MODULES = ["brd", "minix"]
LOADING = "lab: loading"
DONE = "lab: done"
BEGIN = re.compile(rb"# lab: begin\r?\n")
END = re.compile(rb"# lab: end (\d+)\r?\n")


class LabError(Exception):
    """The lab cannot be built or started."""


@contextlib.contextmanager
def module_here():
    """LAB=host: wisp.ko is in this machine's kernel, if it was not, for as long."""
    module = f"{BUILD}/module-{os.uname().release}/wisp.ko"
    loaded = os.path.isdir("/sys/module/wisp")
    if not loaded and not os.path.exists(module):
        raise LabError(f"LAB=host needs {module}: boot the newest kernel, or install "
                       f"linux-headers-{os.uname().release}, and make again")
    if not loaded:
        subprocess.run(["insmod", module], check=True)
    try:
        yield
    finally:
        if not loaded:
            subprocess.run(["rmmod", "wisp"], check=True)


def find_splats(log):
    """The lines of a kernel's log that are red."""
    log = ASKED.sub(lambda asked: asked[0].replace("Call Trace:", ""), log)
    return [line for line in log.splitlines() if SPLAT.search(line)]


def version_key(path):
    return [int(n) for n in re.findall(r"\d+", path)]


def stock_kernels():
    """Installed kernels that a module can be built for, oldest first.

    Cloud kernels are left out: they lack hardware that a host has.
    """
    found = []
    for image in glob.glob("/boot/vmlinuz-*"):
        version = image[len("/boot/vmlinuz-"):]
        if "-cloud-" not in version and os.path.isdir(f"/lib/modules/{version}/build"):
            found.append(version)
    return sorted(found, key=version_key)


def newest_kernel():
    kernels = stock_kernels()
    if not kernels:
        raise LabError("no kernel in /boot with headers in /lib/modules/*/build "
                       "(Debian: linux-image-amd64, linux-headers-amd64)")
    return kernels[-1]


def cloud_kernel():
    """The newest that is installed: a guest, and not one to build for."""
    images = sorted(glob.glob("/boot/vmlinuz-*-cloud-*"), key=version_key)
    if not images:
        raise LabError("no cloud kernel in /boot (Debian: linux-image-cloud-amd64)")
    return images[-1]


def unpacked_payload(image, data):
    """A bzImage's; its last four bytes are how long that is."""
    if data[:4] == b"\xfd7zX":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        if not shutil.which("zstd"):
            raise LabError(f"no zstd, by which {image} is packed (Debian: zstd)")
        return subprocess.run(["zstd", "-dc"], input=data[:-4], check=True,
                              stdout=subprocess.PIPE).stdout
    raise LabError(f"{image} is packed neither by xz nor by zstd")


def vmlinux(image):
    """The ELF file inside a bzImage, unpacked into build/lab.

    "The Linux/x86 Boot Protocol": payload_offset and payload_length.
    """
    path = f"{BUILD}/lab/{os.path.basename(image).replace('linuz', 'linux')}"
    if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(image):
        return path
    with open(image, "rb") as f:
        data = f.read()
    offset, size = struct.unpack_from("<II", data, 0x248)
    start = (data[0x1f1] + 1) * 512 + offset
    payload = unpacked_payload(image, data[start:start + size])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Two boots may do so at the same time.
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
        f.write(payload)
    os.rename(f.name, path)
    return path


class Kernel(collections.namedtuple("Kernel", "version image tree")):
    """A kernel to boot; tree is what modules are built with (KDIR)."""

    def module_dir(self, debug=False):
        return f"{BUILD}/module-{self.version}{'-debug' if debug else ''}"

    def module(self, debug=False):
        path = self.module_dir(debug) + "/wisp.ko"
        if not os.path.exists(path):
            raise LabError(f"{path} is not built (make module KDIR={self.tree}"
                           f"{' DEBUG=1' if debug else ''})")
        return path

    def vmlinux(self):
        return vmlinux(self.image)

    def stock_module(self, name):
        """One of its own: its path, or None."""
        folder = os.path.dirname(self.tree) + "/kernel"
        if not os.path.isdir(folder):
            folder = self.tree  # built and not installed
        found = glob.glob(f"{folder}/**/{name}.ko*", recursive=True)
        return found[0] if found else None

    def with_needed(self, *names):
        """Its own modules of these names, behind those that they need: paths."""
        paths = []
        for name in names:
            path = self.stock_module(name)
            if not path:
                raise LabError(f"{self.version} has no module {name}")
            needed = subprocess.run(["modinfo", "-F", "depends", path], text=True,
                                    capture_output=True, check=True).stdout
            paths += self.with_needed(*needed.strip().split(",")) \
                if needed.strip() else []
            paths.append(path)
        return list(dict.fromkeys(paths))

    def planted(self):
        return f"{BUILD}/planted-{self.version}/planted.ko"


def find_kernel(version=None):
    """One that is installed (the newest, if none is named) or was fetched."""
    version = version or newest_kernel()
    for root in ("", f"{CACHE}/kernels/{version}"):
        kernel = Kernel(version, f"{root}/boot/vmlinuz-{version}",
                        f"{root}/lib/modules/{version}/build")
        if os.path.exists(kernel.image) and os.path.isdir(kernel.tree):
            return kernel
    raise LabError(f"no kernel {version} with headers, neither installed nor in"
                   f" {CACHE}/kernels (selftests/lab/fetch-kernel SUITE)")


def run_script(name, *args):
    """What a script of this folder prints; its errors are this one's."""
    r = subprocess.run([os.path.join(HERE, name), *args], text=True,
                       capture_output=True, env=dict(os.environ, BUILD=BUILD))
    if r.returncode:
        raise LabError(tail(r.stderr))
    return r.stdout.strip()


def debug_kernel():
    tree = run_script("debug-kernel", "--path")
    image = tree + "/arch/x86/boot/bzImage"
    if not os.path.exists(tree + "/stamp"):
        raise LabError("no debug kernel (make debug-kernel)")
    with open(tree + "/include/config/kernel.release") as f:
        return Kernel(f.read().strip(), image, tree)


def gdb_files():
    """Pairs for Boot's files: gdb, and the Python that is linked into it."""
    path = shutil.which("gdb")
    if not path:
        raise LabError("no gdb (Debian: gdb or gdb-minimal)")
    files = [(path, "/bin/gdb")]
    for library in shared_libraries(path):
        if found := re.search(r"libpython(3\.\d+)", library):
            folder = "/usr/lib/python" + found[1]
            files += [(p, p) for p in glob.glob(folder + "/*.py")]
            files += [(p, p) for p in (folder + "/" + package for package in (
                "collections", "encodings", "importlib", "json", "re",
                "lib-dynload")) if os.path.isdir(p)]
            files.append(("/usr/share/gdb", "/usr/share/gdb"))
    return files


def trace_files():
    """Pairs for Boot's files: trace-cmd."""
    path = shutil.which("trace-cmd")
    if not path:
        raise LabError("no trace-cmd (Debian: trace-cmd)")
    return [(path, "/bin/trace-cmd")]


def unpacked(path):
    """What is in a file that may be packed by xz."""
    with lzma.open(path) if path.endswith(".xz") else open(path, "rb") as f:
        return f.read()


# ---- initramfs --------------------------------------------------------------

class Cpio:
    """An initramfs in the making ("newc" format, uncompressed)."""

    def __init__(self):
        self.names = set()
        self.data = bytearray()

    def _add(self, name, mode, content=b"", rdev=(0, 0)):
        name = name.strip("/")
        parent = os.path.dirname(name)
        if parent:
            self.dir(parent)
        if name in self.names:
            return
        self.names.add(name)
        raw = name.encode() + b"\0"
        fields = (len(self.names), mode, 0, 0, 1, 0, len(content), 0, 0, *rdev,
                  len(raw), 0)
        self.data += b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self.data += bytes(-len(self.data) % 4) + content
        self.data += bytes(-len(self.data) % 4)

    def dir(self, name):
        if name.strip("/") not in self.names:
            self._add(name, stat.S_IFDIR | 0o755)

    def text(self, name, content, mode=0o644):
        self.binary(name, content.encode(), mode)

    def binary(self, name, content, mode=0o644):
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        self._add(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def file(self, host, name):
        """A file, with the shared libraries that it needs."""
        if name.strip("/") in self.names:
            return
        with open(host, "rb") as f:
            content = f.read()
        mode = 0o755 if os.access(host, os.X_OK) else 0o644
        self._add(name, stat.S_IFREG | mode, content)
        if content[:4] == b"\x7fELF" and content[16] in (2, 3):
            for library in shared_libraries(host):
                inside = library.startswith(BUILD + "/")
                self.file(library, "/lib/" + os.path.basename(library) if inside
                          else library)

    def tree(self, host, name):
        """A folder, without what a build left there on the way."""
        for folder, folders, files in os.walk(host):
            folders[:] = [f for f in folders if f != "obj"]
            for f in files:
                path = os.path.join(folder, f)
                self.file(path, os.path.join(name, os.path.relpath(path, host)))

    def write(self, path):
        self._add("TRAILER!!!", 0)
        with open(path, "wb") as f:
            f.write(self.data)


@functools.cache
def shared_libraries(path):
    env = dict(os.environ, LD_LIBRARY_PATH=BUILD + "/lib")
    out = subprocess.run(["ldd", path], env=env, text=True, capture_output=True)
    if "not found" in out.stdout:
        raise LabError(f"{path}: {out.stdout.strip()}")
    return re.findall(r"(/\S+) \(0x", out.stdout)


def busybox():
    path = shutil.which("busybox")
    if not path or shared_libraries(path):
        raise LabError("no static busybox (Debian: busybox-static)")
    return path


def guest_initramfs(path):
    """What guests of the lab boot: busybox and a shell on the console."""
    cpio = Cpio()
    cpio.node("/dev/console", 5, 1)
    cpio.file(busybox(), "/bin/busybox")
    cpio.file(HERE + "/guest-init", "/init")
    cpio.write(path)


# ---- emulators --------------------------------------------------------------

def qemu_svm(boot):
    """AMD SVM with nested paging, by QEMU's TCG."""
    threads = "single" if boot.one_thread else "multi"
    cpu, accel = "EPYC,+svm,+npt" + boot.cpu, ["-accel", "tcg,thread=" + threads]
    # TCG may lose an interrupt, until the next one comes: see "testing.rst".
    append = " watchdog_thresh=60"
    if not boot.one_thread:
        # Nor may another CPU run what the kernel changes of its own code, which it
        # does most until process 1 runs: that one brings the others up.
        append += " maxcpus=1 noreplace-smp"
    if boot.icount:
        # The TSC then counts instructions: the same cost on every run.
        cpu += ",+invtsc"
        accel = ["-accel", "tcg", "-icount", "shift=0,sleep=off"]
    else:
        # The next one has to be of a timer that is not set again by each.
        append += " nohz=off highres=off"
    return ["qemu-system-x86_64", "-M", "q35", *accel, "-cpu", cpu,
            "-smp", str(boot.smp + boot.spare), "-m", str(boot.mem),
            "-nic", "none", "-display", "none", "-monitor", "none",
            "-no-reboot", "-serial", "file:" + boot.path("console.log"),
            "-chardev", "stdio,id=terminal,signal=off",
            "-serial", "chardev:terminal",
            "-kernel", boot.kernel.image, "-initrd", boot.path("initramfs.cpio"),
            "-append", boot.cmdline + append]


# Bochs has a wrong size for XSAVEC. And a REP STOSB is as many instructions as bytes
# to it: the kernel would clear pages by that. FSRM promises that ERMS is there.
VMX_APPEND = "clearcpuid=xsavec,xsaves,erms,fsrm"


def bochs_svm(boot):
    """AMD SVM with NRIP and nested paging, by Bochs."""
    return bochs.command(boot, run_script("build-bochs"), "zambezi")


def bochs_vmx(boot):
    """Intel VMX with EPT, by Bochs"""
    # Whose CPUID says what was added.
    model = "corei7_icelake_u" if boot.cpu else "corei7_skylake_x"
    return bochs.command(boot, run_script("build-bochs"), model, VMX_APPEND)


# debug: the kernel of debug-kernel, which watches over itself.
LABS = {"svm": qemu_svm, "debug": qemu_svm, "bochs-svm": bochs_svm,
        "vmx": bochs_vmx, "debug-vmx": bochs_vmx}


def is_debug(name):
    return name.startswith("debug")


def in_bochs(name):
    return LABS[name] in (bochs_svm, bochs_vmx)


# ---- one boot ---------------------------------------------------------------

class Boot:
    """Set up by keywords, then start(), then finish().

    commands: shell command lines, run one after the other in the lab
    files: pairs (path here, path in the lab)
    kernel: a version, None for the newest installed; a debug lab has its own
    smp: CPUs, None for as many as the emulator does well
    spare: with more than one in threads of their own, a first CPU besides, which
        programs stay away from: TCG loses what VMRUN and #VMEXIT do to its first CPU,
        where another one loads x87 state at that moment ("testing.rst")
    one_thread: QEMU has one for all CPUs, in turns: without what goes wrong between
        its threads ("testing.rst"), but also without what only happens at once
    vmx_locked: the firmware of the lab vmx has locked VMX off
    cpu: more of the CPU's features, as ",+la57"
    module: a path to a wisp.ko, None for the one built for the lab's kernel,
        False for none
    insmod_args: its parameters; None: it is there, but not loaded
    kvm: with the modules of the kernel's KVM in /kvm, and msr.ko loaded
    traces: in Bochs, how many times a program may have its instructions
        traced, each time from one XCHG BX, BX to the next: see trace.py
    """

    def __init__(self, commands, lab="svm", name=None, smp=None, mem=1024,
                 timeout=120, icount=False, cpu="", kernel=None, append="",
                 files=(), module=None, debug=False, insmod_args="",
                 interactive=False, kvm=False, traces=0, spare=True,
                 one_thread=False, vmx_locked=False):
        if lab not in LABS:
            raise LabError(f"no lab '{lab}'; there are: {' '.join(LABS)}")
        self.lab, self.mem, self.icount = lab, mem, icount
        self.vmx_locked = vmx_locked
        self.traces = traces
        self.smp = smp or (1 if in_bochs(lab) or icount else 2)
        self.one_thread = one_thread or in_bochs(lab) or self.smp == 1
        self.spare = spare and not self.one_thread
        self.cpu, self.timeout, self.interactive = cpu, timeout, interactive
        self.commands, self.red = list(commands), []
        self.kernel = debug_kernel() if is_debug(lab) else find_kernel(kernel)
        if module is None:
            module = self.kernel.module(debug or is_debug(lab))
        self.cmdline = f"{CMDLINE} {append}".strip()
        os.makedirs(BUILD + "/lab", exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix=(name or "boot") + ".",
                                    dir=BUILD + "/lab")
        self._make_initramfs(module, insmod_args, files, kvm)

    def path(self, name):
        return os.path.join(self.dir, name)

    def _make_initramfs(self, module, insmod_args, files, kvm):
        cpio = Cpio()
        cpio.node("/dev/console", 5, 1)
        cpio.file(busybox(), "/bin/busybox")
        cpio.file(HERE + "/init", "/init")
        # Before what else there may be of the same name.
        for host, name in files:
            (cpio.tree if os.path.isdir(host) else cpio.file)(host, name)
        if kvm:
            self._add_kvm(cpio)
        self._add_modules(cpio, "/io", *IO_MODULES)
        self._add_modules(cpio, "/disk", *DISK_MODULES)
        cpio.file("/sbin/mkfs.minix", "/bin/mkfs.minix")
        cpio.text("/etc/passwd", "root:x:0:0::/:/bin/sh\n"
                  "nobody:x:65534:65534::/:/bin/sh\n")
        cpio.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
        config = {"interactive": int(self.interactive),
                  "insmod": int(bool(module) and insmod_args is not None),
                  "insmod_args": insmod_args or "", "spare": int(self.spare)}
        cpio.text("/lab/config", "".join(f"{k}={shlex.quote(str(v))}\n"
                                         for k, v in config.items()))
        if any("\n" in c for c in self.commands):
            raise LabError("a command of the lab is one line")
        cpio.text("/lab/commands", "".join(c + "\n" for c in self.commands))
        if module:
            stripped = self.path("wisp.ko")
            subprocess.run(["strip", "-g", "-o", stripped, module], check=True)
            cpio.file(stripped, "/wisp.ko")
        for host, name in ((BUILD + "/bin", "/bin"),
                           (BUILD + "/selftests", "/selftests"),
                           (TREE + "/selftests/cli", "/selftests/cli")):
            cpio.tree(host, name)
        # What a guest needs, for those who start one. A debug kernel is no guest.
        guest = find_kernel() if is_debug(self.lab) else self.kernel
        cpio.file(guest.image, "/boot/vmlinuz")
        guest_initramfs(self.path("guest.cpio"))
        cpio.file(self.path("guest.cpio"), "/guest.cpio")
        cpio.write(self.path("initramfs.cpio"))

    def _add_modules(self, cpio, folder, *wanted):
        """Modules of its kernel's in a folder: in which order, its file modules has."""
        names = []
        for path in self.kernel.with_needed(*wanted):
            name = os.path.basename(path).partition(".")[0]
            # Without a signature, which takes Bochs seconds to verify.
            stripped = self.path(name + ".ko")
            with open(stripped, "wb") as f:
                f.write(unpacked(path))
            subprocess.run(["strip", "-g", stripped], check=True)
            cpio.file(stripped, f"{folder}/{name}.ko")
            names.append(name)
        cpio.text(folder + "/modules", "".join(n + "\n" for n in names))

    def _add_kvm(self, cpio):
        self._add_modules(cpio, "/kvm",
                          "kvm-intel" if self.lab.endswith("vmx") else "kvm-amd")
        if msr := self.kernel.stock_module("msr"):
            cpio.binary("/msr.ko", unpacked(msr))

    def start(self, *more, fds=()):
        """more: for the emulator's command line; fds: what it inherits"""
        argv = LABS[self.lab](self) + list(more)
        if shutil.which(argv[0]) is None:
            raise LabError(f"{argv[0]} is not installed")
        if not self.interactive:
            # Outlives us if we are killed, and still ends the emulator.
            argv = ["timeout", "-k", "5", str(self.timeout), *argv]
        pipe = None if self.interactive else subprocess.PIPE
        with open(self.path("emulator.log"), "wb") as errors:
            self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe,
                                            stderr=errors, bufsize=0,
                                            pass_fds=fds)
        return self

    def finish(self, show=None):
        """Waits for the end; show(bytes) gets the terminal as it comes."""
        output = bytearray()
        # When it was started, and when each command began and ended.
        self.times = [time.monotonic()]
        try:
            if not self.interactive:
                while chunk := self.process.stdout.read(65536):
                    output += chunk
                    marks = len(BEGIN.findall(output)) + len(END.findall(output))
                    self.times += [time.monotonic()] * (marks + 1 - len(self.times))
                    if show:
                        show(chunk)
            self.process.wait()
        finally:
            self.stop()
        self._judge(bytes(output))
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def _judge(self, output):
        try:
            with open(self.path("console.log"), errors="replace") as f:
                self.console = f.read().replace("\r", "")
        except FileNotFoundError:
            self.console = ""
        with open(self.path("terminal.log"), "wb") as f:
            f.write(output)

        # re.split with one group: text, status, text, status, ..., rest
        parts = END.split(output)
        self.statuses = [int(s) for s in parts[1::2]]
        self.outputs = [without_begin(p) for p in parts[0::2]][:len(self.commands)]

        self.timed_out = self.process.returncode in (124, 137)
        loaded = self.console.partition(LOADING)[2]
        self.splats = find_splats(loaded)
        if self.splats:
            self.red.append("kernel log: " + self.splats[0].strip())
        for problem in re.findall(r"lab: (\w+ failed.*)", loaded):
            self.red.append(problem)
        if self.process.returncode < 0:
            self.red.append("the emulator itself crashed, by signal"
                            f" {-self.process.returncode}")
        elif self.timed_out:
            self.red.append(f"no end within {self.timeout} s")
        elif not loaded:
            self.red.append(f"the kernel did not come up, see {self.dir}")
        elif not self.interactive and (DONE not in loaded or
                                       len(self.statuses) < len(self.commands)):
            self.red.append("the kernel went down before the end")

    def seconds(self):
        """What took how long: the way to the first command, then each command."""
        starts = self.times[:1] + self.times[1::2]
        ends = self.times[1:2] + self.times[2::2]
        return [end - start for start, end in zip(starts, ends)]

    def status(self):
        """One exit status for the whole boot."""
        if self.timed_out:
            return TIMEOUT
        if self.red:
            return RED
        return next((s for s in self.statuses if s), 0)

    def cleanup(self):
        shutil.rmtree(self.dir)


class Screen:
    """Prints what a boot's terminal brings, without the lab's own lines."""

    # A shell's questions to a terminal are not for the one we print on.
    QUESTIONS = re.compile(rb"\x1b\[[0-9;]*n")
    # What may be the first piece of one, or of a line of the lab's.
    PIECE = re.compile(rb"\x1b(\[[0-9;]*)?$")
    LAB = b"# lab: "

    def __init__(self):
        self.held, self.line_start = b"", True

    def show(self, chunk):
        """Returns what it printed."""
        text = self.QUESTIONS.sub(b"", self.held + chunk)
        text = BEGIN.sub(b"", END.sub(b"", text))
        cut = text.rfind(b"\n") + 1
        if not (cut or self.line_start) or \
                not self.LAB.startswith(text[cut:][:len(self.LAB)]):
            piece = self.PIECE.search(text)
            cut = piece.start() if piece else len(text)
        self.held, text = text[cut:], text[:cut]
        if text:
            self.line_start = text.endswith(b"\n")
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return text


def without_begin(output):
    text = BEGIN.sub(b"", output).decode(errors="replace")
    return text.replace("\r\n", "\n")


def tail(text, lines=40):
    return "\n".join(text.rstrip().splitlines()[-lines:])


def report_red(boot, stream=sys.stderr):
    """Says why a boot was red, and where its logs are."""
    for reason in boot.red:
        print("lab: red:", reason, file=stream)
    print(log_excerpt(boot), file=stream)
    print("lab: kept:", boot.dir, file=stream)


def log_excerpt(boot, lines=40):
    """The kernel's log from its first splat on, or else its end."""
    log = boot.console.splitlines()
    if boot.splats:
        log = log[log.index(boot.splats[0]):][:lines]
    return "\n".join(log[-lines:])
