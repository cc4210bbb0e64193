/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WISP_SELFTESTS_SNIPPET_H
#define WISP_SELFTESTS_SNIPPET_H

/*
 * Guest code between labels, as read-only data of the test. Jumps in it are
 * relative, so that it runs wherever it is copied to.
 */
#define SNIPPET(name, bits, text)					\
	extern const char name[], name##_end[];				\
	asm(".pushsection .rodata\n"					\
	    ".code" #bits "\n"						\
	    ".globl " #name "\n.globl " #name "_end\n"			\
	    #name ":\n" text "\n" #name "_end:\n"			\
	    ".code64\n.popsection")

#define STR1(x) #x
#define STR(x) STR1(x)

#endif
