// SPDX-License-Identifier: GPL-2.0
/* Names, sizes, and the initramfs that --root makes. */
#include <string.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wisp.h>

#include "cpio.h"
#include "size.h"
#include "tap.h"

#define CHECK_TEXT(left, right) \
	(CHECK(!strcmp(left, right)) ? 0 : \
	 printf("# \"%s\" is not \"%s\"\n", left, right))

static void exits_have_names(void)
{
	for (uint32_t i = 0; i <= WISP_EXIT_LIMIT; i++)
		CHECK(strcmp(wisp_exit_name(i), "unknown"));
	CHECK_TEXT(wisp_exit_name(WISP_EXIT_HLT), "hlt");
	CHECK_TEXT(wisp_exit_name(WISP_EXIT_LIMIT), "limit");
	CHECK_TEXT(wisp_exit_name(WISP_EXIT_LIMIT + 1), "unknown");
	CHECK_TEXT(wisp_exit_name(UINT32_MAX), "unknown");
}

static void fields_have_names(void)
{
	CHECK_TEXT(wisp_field_name(0), "none");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(state.control.cr0)),
		   "state.control.cr0");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(state.segments.idt.limit)),
		   "state.segments.idt.limit");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(inject.vector)), "inject.vector");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(breakpoints.dr7)),
		   "breakpoints.dr7");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(state.events.interrupt.type)),
		   "state.events.interrupt.type");
	CHECK_TEXT(wisp_field_name(WISP_FIELD(state.xsave) + 24),
		   "state.xsave");
	CHECK_TEXT(wisp_field_name(4096), "unknown");
	CHECK_TEXT(wisp_field_name(UINT32_MAX), "unknown");
}

/* So that a member that is added is not forgotten in the table. */
static void every_byte_has_a_name(void)
{
	for (uint32_t i = 4; i < sizeof(struct wisp_vcpu_page); i++)
		if (!CHECK(strcmp(wisp_field_name(i), "unknown")))
			printf("# byte %u\n", i);
}

static void backends_have_names(void)
{
	CHECK_TEXT(wisp_backend_name(WISP_BACKEND_SVM), "svm");
	CHECK_TEXT(wisp_backend_name(WISP_BACKEND_VMX), "vmx");
	CHECK_TEXT(wisp_backend_name(0), "unknown");
}

static void sizes_are_parsed(void)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "64K", 65536 },
		{ "256M", 256ULL << 20 }, { "2g", 2ULL << 30 },
		{ "1T", 1ULL << 40 }, { "16777215T", 16777215ULL << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char * const bad[] = {
		"", "M", "-1", "+1", " 1", "1 M", "1MB", "1.5G", "0x10", "1P",
		"18446744073709551616", "16777216T", "99999999999999999999G",
	};
	uint64_t size;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		CHECK_EQUAL(size_parse(good[i].text, &size), 0);
		CHECK_EQUAL(size, good[i].size);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!CHECK(size_parse(bad[i], &size) < 0))
			printf("# \"%s\"\n", bad[i]);
}

static void sizes_are_formatted(void)
{
	char text[SIZE_TEXT];

	CHECK_TEXT(size_format(0, text), "0");
	CHECK_TEXT(size_format(4096, text), "4K");
	CHECK_TEXT(size_format(256ULL << 20, text), "256M");
	CHECK_TEXT(size_format(1ULL << 40, text), "1T");
	CHECK_TEXT(size_format(2039480320, text), "1945M");
	CHECK_TEXT(size_format(UINT64_MAX, text), "16777215T");
}

static void make_tree(char *folder)
{
	char path[128];
	FILE *stream;

	CHECK(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/bin", folder);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/bin/sh", folder);
	CHECK(!symlink("busybox", path));
	snprintf(path, sizeof(path), "%s/init", folder);
	stream = fopen(path, "w");
	fputs("#!/bin/sh\n", stream);
	fclose(stream);
	chmod(path, 0755);
}

static void remove_tree(const char *folder)
{
	static const char * const names[] = { "/bin/sh", "/bin", "/init", "" };
	char path[128];

	for (unsigned int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s", folder, names[i]);
		remove(path);
	}
}

static unsigned int hex(const uint8_t *text)
{
	char copy[9] = { 0 };

	memcpy(copy, text, 8);
	return (unsigned int)strtoul(copy, NULL, 16);
}

/* Walks the archive; returns the offset behind the entry at @at. */
static size_t check_entry(const struct file *file, size_t at, const char *name,
			  unsigned int mode, const char *data)
{
	const uint8_t *header = file->data + at;
	unsigned int name_size = hex(header + 94), size = hex(header + 54);
	size_t data_at = (at + 110 + name_size + 3) & ~3UL;

	CHECK(!memcmp(header, "070701", 6));
	CHECK_TEXT((const char *)header + 110, name);
	CHECK_EQUAL(name_size, strlen(name) + 1);
	CHECK_EQUAL(hex(header + 14), mode);
	CHECK_EQUAL(size, strlen(data));
	CHECK(!memcmp(file->data + data_at, data, size));
	return (data_at + size + 3) & ~3UL;
}

static void folders_are_packed(void)
{
	char folder[] = "/tmp/wisp-unit-XXXXXX";
	struct file file = { 0 };
	char *path;
	size_t at;

	make_tree(folder);
	CHECK_EQUAL(cpio_pack(&file, folder, &path), 0);
	CHECK(!path);
	at = check_entry(&file, 0, "bin", S_IFDIR | 0755, "");
	at = check_entry(&file, at, "bin/sh", S_IFLNK | 0777, "busybox");
	at = check_entry(&file, at, "init", S_IFREG | 0755, "#!/bin/sh\n");
	at = check_entry(&file, at, "TRAILER!!!", 0, "");
	CHECK_EQUAL(at, file.size);
	file_free(&file);
	remove_tree(folder);
	CHECK(cpio_pack(&file, folder, &path) < 0);
	file_free(&file);
	free(path);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(exits_have_names),
		TAP_TEST(fields_have_names),
		TAP_TEST(every_byte_has_a_name),
		TAP_TEST(backends_have_names),
		TAP_TEST(sizes_are_parsed),
		TAP_TEST(sizes_are_formatted),
		TAP_TEST(folders_are_packed),
	};

	return TAP_RUN(tests);
}
