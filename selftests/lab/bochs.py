# SPDX-License-Identifier: GPL-2.0
"""Bochs for the lab: what lab.py runs instead of QEMU.

command() writes what an emulator needs into the folder of a boot; run as a
program, with that folder and Bochs' command line, this file starts Bochs there and
passes the second serial port on to its own input and output.

The kernel is entered without a boot loader, by PVH; or, with five levels of tables,
which its code for that leaves off, at startup_64: see bochs.S.
"""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tty

HERE = os.path.dirname(os.path.realpath(__file__))

# Instructions in a second of the machine's own time, in which alone all timers
# go; for benchmarks so many that few are a tick's.
IPS, BENCH_IPS = 100000000, 400000000
# The array of RAM is given to addresses by such blocks (BX_MEM_BLOCK_LEN).
BLOCK = 0x20000
# More blocks than the BIOS touches.
PADDING = 96
PADDING_END = 0x4c415354
# Guest-physical addresses: the start info with what it points to and what
# bochs.S reads, the initramfs, and blocks that nobody has touched.
INFO, INITRD, SCRATCH = 0x800000, 0x8000000, 0x18000000
ROM = 0xd0000
# In the first block, behind INFO.
MODULES, MEMORY_MAP, LOADS, CMDLINE = 0x100, 0x200, 0x300, 0x400
ZERO_PAGE, TABLES = 0x2000, 0x3000

BIOS = "/usr/share/bochs/BIOS-bochs-latest"
CONFIG = """\
config_interface: textconfig
display_library: nogui
cpu: model={model}, count={smp}, quantum=32, ips={ips}, reset_on_triple_fault=0, msrs=msrs{features}
memory: guest={mem}, host={mem}
romimage: file={bios}
vgaromimage: file=/usr/share/vgabios/vgabios.bin
optromimage1: file=rom.bin, address={rom:#x}
optramimage1: file=ram.bin, address={info:#x}
pci: enabled=1, chipset=i440fx
boot: floppy
ata0: enabled=0
ata1: enabled=0
clock: sync=none, time0=1700000000
com1: enabled=1, mode=file, dev=console.log
com2: enabled=1, mode=term, dev=terminal
log: bochs.log
panic: action=fatal
info: action=ignore
"""

# Bochs has no IA32_MISC_ENABLE: the kernel would believe that REP MOVS and STOS are
# slow, and copy pages otherwise, which no Intel CPU that has VMX asks it to.
FAST_STRING = 1
# Nor IA32_MCG_STATUS: after a machine check the interrupted program could go on, and it
# was this CPU's alone, so that the kernel does not wait for the others.
RESTARTABLE, LOCAL = 1, 8
# Address, kind; reset value, reserved and ignored bits, the upper half before the lower.
MSRS = f"""\
0x1a0 0 00000000 {FAST_STRING:08x} 00000000 00000000 00000000 00000000
0x17a 0 00000000 {RESTARTABLE | LOCAL:08x} 00000000 00000000 ffffffff ffffffff
"""

# XCHG BX, BX stops the machine, for the debugger's next command.
TRACE_CONFIG = "magic_break: enabled=1\n"


def blocks(data):
    return bytes(data) + bytes(-len(data) % BLOCK)


def load_elf(path):
    """The kernel as it is in memory, where that is, its PVH entry, and startup_64."""
    with open(path, "rb") as f:
        elf = f.read()
    offset, = struct.unpack_from("<Q", elf, 32)
    count, = struct.unpack_from("<H", elf, 56)
    headers = [struct.unpack_from("<IIQQQQQQ", elf, offset + 56 * i)
               for i in range(count)]
    loads = [h for h in headers if h[0] == 1]
    base = min(h[4] for h in loads)
    image = bytearray(max(h[4] + h[5] for h in loads) - base)
    for _, _, at, _, physical, size, _, _ in loads:
        image[physical - base:physical - base + size] = elf[at:at + size]
    notes = b"".join(elf[h[2]:h[2] + h[5]] for h in headers if h[0] == 4)
    # Xen's note 18 is PHYS32_ENTRY.
    found = re.search(b"\4\0\0\0....\x12\0\0\0Xen\0(....)", notes, re.S)
    return (image.rstrip(b"\0"), base, struct.unpack("<I", found[1])[0],
            struct.unpack_from("<Q", elf, 24)[0])


def add_zero_page(info, ranges, initrd):
    """"Zero Page" and "The Linux/x86 Boot Protocol": what startup_64 is given"""
    info[ZERO_PAGE + 0x1e8] = len(ranges)
    for i, r in enumerate(ranges):
        struct.pack_into("<QQI", info, ZERO_PAGE + 0x2d0 + 20 * i, *r)
    struct.pack_into("<4sH", info, ZERO_PAGE + 0x202, b"HdrS", 0x20c)
    struct.pack_into("<BB", info, ZERO_PAGE + 0x210, 0xff, 1)
    struct.pack_into("<II", info, ZERO_PAGE + 0x218, INITRD, initrd)
    struct.pack_into("<I", info, ZERO_PAGE + 0x228, INFO + CMDLINE)


def write_ram(path, kernel, initrd, cmdline, mem, five_levels):
    """One image; it fills blocks one after the other, whatever their address."""
    image, base, entry, entry64 = load_elf(kernel)
    with open(initrd, "rb") as f:
        initrd = f.read()
    # What BIOS-bochs leaves: its ACPI tables end the memory.
    end = mem * 0x100000
    ranges = [(0, 0x9f000, 1), (0x9f000, 0x1000, 2), (0xe8000, 0x18000, 2),
              (0x100000, end - 0x10000 - 0x100000, 1),
              (end - 0x10000, 0x10000, 3), (0xfffc0000, 0x40000, 2)]
    info = bytearray(BLOCK)
    # "x86/HVM direct boot ABI": struct hvm_start_info and what it points to
    struct.pack_into("<IIIIQQQQII", info, 0, 0x336ec578, 1, 0, 1,
                     INFO + MODULES, INFO + CMDLINE, 0, INFO + MEMORY_MAP,
                     len(ranges), 0)
    struct.pack_into("<QQ", info, MODULES, INITRD, len(initrd))
    for i, (start, size, kind) in enumerate(ranges):
        struct.pack_into("<QQI", info, MEMORY_MAP + 24 * i, start, size, kind)
    if five_levels:
        entry = entry64
        add_zero_page(info, ranges, len(initrd))
        # The first GiB is where it is, by one entry in each of three levels.
        for i, value in enumerate((INFO + TABLES + 0x1003, INFO + TABLES + 0x2003, 0x83)):
            struct.pack_into("<Q", info, TABLES + 0x1000 * i, value)
    image, initrd = blocks(image), blocks(initrd)
    struct.pack_into("<IIIIII", info, LOADS, base, len(image) // BLOCK,
                     INITRD, len(initrd) // BLOCK, entry, 0)
    struct.pack_into(f"{len(cmdline) + 1}s", info, CMDLINE, cmdline.encode())
    with open(path, "wb") as f:
        f.write(info)
        f.write(bytes(BLOCK) * (PADDING - 1))
        f.write(blocks(struct.pack("<I", PADDING_END)))
        f.write(image)
        f.write(initrd)


def locked_bios(path):
    """BIOS whose IA32_FEATURE_CONTROL has the lock, but no VMXON"""
    with open(BIOS, "rb") as f:
        bios = f.read()
    # RDMSR; OR $5, EAX; WRMSR: for the first CPU and, in 16-bit code, the others
    for prefix in b"", b"\x66":
        enable, lock = (b"\x0f\x32" + prefix + b"\x83\xc8" + value + b"\x0f\x30"
                        for value in (b"\5", b"\1"))
        if bios.count(enable) != 1:
            sys.exit(f"bochs: {BIOS} enables VMX in another way")
        bios = bios.replace(enable, lock)
    with open(path, "wb") as f:
        f.write(bios)
    return path


def write_rom(path, five_levels):
    defines = {"ADDRESS": ROM, "BLOCK": BLOCK, "INFO": INFO, "SCRATCH": SCRATCH,
               "LOADS": INFO + LOADS, "PADDING_END": PADDING_END}
    if five_levels:
        defines |= {"TABLES": INFO + TABLES, "ZERO_PAGE": INFO + ZERO_PAGE}
    subprocess.run(["gcc", "-m32", "-c", "-o", path + ".o", HERE + "/bochs.S",
                    *[f"-D{name}={value:#x}" for name, value in defines.items()]],
                   check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", path + ".o", path],
                   check=True)
    with open(path, "r+b") as f:
        rom = f.read()
        f.seek(-1, os.SEEK_END)
        f.write(bytes([-sum(rom) & 0xff]))


def tsc_rate(ips):
    """For the kernel: the CPU models know a rate of their own for the TSC."""
    return f"tsc_early_khz={ips // 1000}"


def command(boot, program, model, append=""):
    """The command line for a lab.Boot; append: to the kernel's."""
    ips = BENCH_IPS if boot.icount else IPS
    cmdline = f"{boot.cmdline} {tsc_rate(ips)} {append}".strip()
    features = boot.cpu.replace(",+", " ").split()
    five_levels = "la57" in features and "no5lvl" not in cmdline.split()
    write_ram(boot.path("ram.bin"), boot.kernel.vmlinux(),
              boot.path("initramfs.cpio"), cmdline, boot.mem, five_levels)
    write_rom(boot.path("rom.bin"), five_levels)
    with open(boot.path("bochsrc"), "w") as f:
        bios = locked_bios(boot.path("bios.bin")) if boot.vmx_locked else BIOS
        more = f', add_features="{" ".join(features)}"' if features else ""
        f.write(CONFIG.format(model=model, smp=boot.smp, ips=ips, bios=bios,
                              mem=boot.mem, rom=ROM, info=INFO, features=more))
        if boot.traces:
            f.write(TRACE_CONFIG)
    with open(boot.path("msrs"), "w") as f:
        f.write(MSRS)
    argv = [program, "-q", "-f", "bochsrc"]
    if boot.traces:
        # The debugger waits for a first "continue".
        with open(boot.path("continue"), "w") as f:
            f.write("c\n" + "trace on\nc\ntrace off\nc\n" * boot.traces)
        argv += ["-debugger", "-rc", "continue"]
    return [sys.executable, "-B", os.path.realpath(__file__), boot.dir, *argv]


# ---- running it -------------------------------------------------------------

def relay(process, terminal):
    """Until Bochs ends: the terminal is our input and output."""
    ended = os.pidfd_open(process.pid)
    sources = [ended, terminal, 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if terminal in ready:
            os.write(1, os.read(terminal, 65536))
        elif ended in ready:
            return process.wait()
        else:
            typed = os.read(0, 4096)
            os.write(terminal, typed)
            if not typed:
                sources.remove(0)


def main():
    os.chdir(sys.argv[1])
    terminal, port = pty.openpty()
    tty.setraw(port)
    os.symlink(os.ttyname(port), "terminal")
    process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=2)
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    status = relay(process, terminal)
    # To Bochs the end of a machine is a panic.
    with open("bochs.log", errors="replace") as f:
        if "soft power off" in f.read():
            return 0
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        signal.raise_signal(-status)
    return status


if __name__ == "__main__":
    sys.exit(main())
