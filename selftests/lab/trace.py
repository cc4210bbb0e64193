# SPDX-License-Identifier: GPL-2.0
"""Reads what Bochs' debugger traced: instructions, one a line.

bochs.py has it say so in emulator.log, one part from each second XCHG BX, BX to
the next. Here the parts are counted: by function, and by those instructions that
cost an emulator no more than others and silicon hundreds.
"""

import bisect
import collections
import re
import subprocess

PART = "Tracing enabled"
LINE = re.compile(r"\(0\)\.\[\d+\] \[\w+\] (\w{4}):(\w+) \(.*?\): (.*?)\s*; \w+$")
KERNEL_CS, USER_CS = "0010", "0033"
WRITES = re.compile(r"(mov|xor|add|sub|pop|lea|or|and) [er](\w+),? ?(.*)$")

# The VMCB's, which is at the same place in no other struct of those who are SVM's.
TLB_CONTROL = "tlb_control"

# What is counted, by the instruction that does it.
COUNTED = [(name, re.compile(pattern)) for name, pattern in (
    ("world switch", r"vmlaunch|vmresume|vmrun"),
    ("wrmsr", r"wrmsr"), ("rdmsr", r"rdmsr"),
    ("vmread", r"vmread"), ("vmwrite", r"vmwrite"),
    ("vmptrld", r"vmptrld"), ("vmclear", r"vmclear"),
    ("vmxon", r"vmxon"), ("vmxoff", r"vmxoff"),
    ("vmload", r"vmload"), ("vmsave", r"vmsave"),
    ("flush", r"invept|invvpid|invlpga|invpcid|invlpg"),
    (TLB_CONTROL, r"mov (byte|dword) ptr .*\[\w+\+92\], (0x0*[1-9a-f]\w*|[a-d]l)"),
    ("cr write", r"mov cr\d"), ("xcr write", r"xsetbv"),
    ("xsave", r"xsave|fxsave"), ("xrstor", r"xrstor|fxrstor"),
    ("verw", r"verw"), ("lfence", r"lfence"),
    # A call to the next instruction but one: the return predictor is filled.
    ("rsb fill", r"call \.\+[1-9]\b"),
    ("ipi", r"mov dword ptr .*0xffffffffff5f\w300"),
)]


class Symbols:
    """Which function an address is in: the kernel's and its modules'."""

    def __init__(self):
        self.found = []

    def add_kernel(self, system_map):
        with open(system_map) as f:
            for line in f:
                address, _, name = line.split()
                self.found.append((int(address, 16), name))

    def add_module(self, path, module, sections):
        """sections: their addresses by name."""
        table = subprocess.run(["objdump", "-t", path], check=True, text=True,
                               capture_output=True).stdout
        for value, section, name in re.findall(
                r"^(\w{16}) .{7} (\.\S*text\S*)\t\w{16} (?:\.hidden )?(\S+)$",
                table, re.M):
            if section in sections and not name.startswith("."):
                self.found.append((sections[section] + int(value, 16),
                                   f"{name} [{module}]"))

    def sort(self):
        self.found.sort()
        self.addresses = [a for a, _ in self.found]

    def name(self, address):
        i = bisect.bisect_right(self.addresses, address)
        return self.found[i - 1][1] if i else hex(address)


class Part:
    """One operation: instructions by function, and what COUNTED lists."""

    def __init__(self):
        self.total = 0
        self.functions = collections.Counter()
        self.counts = collections.Counter()
        self.msrs = collections.Counter()
        self.registers = {}

    def add(self, symbols, cs, address, instruction):
        self.total += 1
        if cs != KERNEL_CS:
            self.functions["(program)" if cs == USER_CS else "(guest)"] += 1
            return
        function = symbols.name(address)
        self.functions[function] += 1
        for name, pattern in COUNTED:
            if pattern.match(instruction) and \
                    (name != TLB_CONTROL or "svm" in function):
                self.counts[name] += 1
        # Of modules: the kernel's own, as at a syscall, are there for both.
        if instruction in ("wrmsr", "rdmsr") and function.endswith("]"):
            self.msrs[f"{instruction} {self.registers.get('cx', '?')}"] += 1
        self.follow(instruction)

    def places(self):
        """Instructions in the guest, the program, the kernel and each module."""
        places = collections.Counter()
        for function, n in self.functions.items():
            found = re.search(r"\[(\w+)\]$|^\((\w+)\)$", function)
            places[found[1] or found[2] if found else "kernel"] += n
        return places

    def follow(self, instruction):
        """Constants on their way into ECX; what is loaded from memory is none."""
        if found := WRITES.match(instruction):
            verb, to, what = found.groups()
            value = self.registers.get(what[1:]) if verb == "mov" else None
            if verb == "mov" and what.startswith("0x"):
                value = hex(int(what, 16))
            if verb == "xor" and what[1:] == to:
                value = "0x0"
            self.registers[to] = value or "of a list"


def read(path, symbols):
    """The parts of an emulator.log."""
    parts = []
    with open(path, errors="replace") as f:
        for line in f:
            if line.startswith(PART):
                parts.append(Part())
            elif parts and (found := LINE.match(line.rstrip())):
                cs, address, instruction = found.groups()
                parts[-1].add(symbols, cs, int(address, 16), instruction)
    return parts
