// SPDX-License-Identifier: MIT
/* wisp info: can this host run guests, and if not why. */
#include "command.h"

#include <argp.h>
#include <inttypes.h>
#include <json.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>
#include <wisp.h>

#include "host.h"
#include "size.h"

struct info {
	bool usable;
	char reason[HOST_REASON_SIZE];	/* why not */
	struct host_cpu cpu;
	struct wisp_query query;	/* abi_version 0: there was no answer */
};

struct bit_name {
	uint64_t bit;
	const char *name;
};

static const struct bit_name features[] = {
	{ WISP_FEATURE_INST_BYTES, "inst-bytes" },
	{ 0 }
};

static const struct bit_name quirks[] = {
	{ WISP_QUIRK_NO_NRIP, "no-nrip" },
	{ WISP_QUIRK_NO_HUGE, "no-huge" },
	{ WISP_QUIRK_RANDOM, "random" },
	{ WISP_QUIRK_NO_DIRTY, "no-dirty" },
	{ 0 }
};

static const struct argp_option options[] = {
	{ "json", 'j', 0, 0, "Write a JSON object", 0 },
	{ 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	switch (key) {
	case 'j':
		*json = true;
		return 0;
	case ARGP_KEY_ARG:
		command_misused("\"%s\" belongs to no option: see wisp info --help",
				arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Tell whether this host can run guests, and if not why.\vExit status: 0 it can, 1 it cannot, 64 wrong usage.",
};

static void collect(struct info *info)
{
	int sys = host_open_driver(&info->query, info->reason);

	host_cpu(&info->cpu);
	/* VMX tells of EPT in an MSR only; the driver does not go without. */
	if (info->query.backend == WISP_BACKEND_VMX)
		info->cpu.nested_paging = true;
	info->usable = sys >= 0;
	if (info->usable)
		close(sys);
}

static json_object *hex(uint64_t value)
{
	char text[20];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_object_new_string(text);
}

static json_object *bits_json(const struct bit_name *names, uint64_t bits)
{
	json_object *array = json_object_new_array();

	for (; names->bit; names++)
		if (bits & names->bit)
			json_object_array_add(array,
				json_object_new_string(names->name));
	return array;
}

static json_object *cpu_json(const struct host_cpu *cpu)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "vendor",
			       json_object_new_string(cpu->vendor));
	json_object_object_add(object, "svm",
			       json_object_new_boolean(cpu->svm));
	json_object_object_add(object, "vmx",
			       json_object_new_boolean(cpu->vmx));
	json_object_object_add(object, "nested_paging",
			       json_object_new_boolean(cpu->nested_paging));
	return object;
}

static void add_query(json_object *object, const struct wisp_query *query)
{
	json_object_object_add(object, "backend", json_object_new_string(
			wisp_backend_name(query->backend)));
	json_object_object_add(object, "abi_version",
			       json_object_new_int64(query->abi_version));
	json_object_object_add(object, "features",
			       bits_json(features, query->features));
	json_object_object_add(object, "quirks",
			       bits_json(quirks, query->quirks));
	json_object_object_add(object, "max_vcpus",
			       json_object_new_int64(query->max_vcpus));
	json_object_object_add(object, "max_slots",
			       json_object_new_int64(query->max_slots));
	json_object_object_add(object, "max_memory_size",
			       json_object_new_uint64(query->max_memory_size));
	json_object_object_add(object, "gpa_bits",
			       json_object_new_int64(query->gpa_bits));
	json_object_object_add(object, "state_groups",
			       hex(query->state_groups));
	json_object_object_add(object, "xcr0", hex(query->xcr0));
	json_object_object_add(object, "xsave_size",
			       json_object_new_int64(query->xsave_size));
	json_object_object_add(object, "tsc_khz",
			       json_object_new_int64(query->tsc_khz));
	json_object_object_add(object, "cpuid_count",
			       json_object_new_int64(query->cpuid_count));
}

static void print_json(const struct info *info)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "usable",
			       json_object_new_boolean(info->usable));
	json_object_object_add(object, "reason",
			       json_object_new_string(info->reason));
	json_object_object_add(object, "cpu", cpu_json(&info->cpu));
	if (info->query.abi_version)
		add_query(object, &info->query);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_SPACED));
	json_object_put(object);
}

static void print_bits(const char *title, const struct bit_name *names,
		       uint64_t bits)
{
	printf("%-16s", title);
	for (; names->bit; names++)
		if (bits & names->bit)
			printf(" %s", names->name);
	puts(bits ? "" : " none");
}

static void print_query(const struct wisp_query *query)
{
	char size[SIZE_TEXT];

	printf("backend          %s\n", wisp_backend_name(query->backend));
	printf("ABI version      %u\n", query->abi_version);
	print_bits("features", features, query->features);
	print_bits("quirks", quirks, query->quirks);
	printf("vCPUs per VM     %u\n", query->max_vcpus);
	printf("slots per VM     %u\n", query->max_slots);
	printf("memory object    %s at most\n",
	       size_format(query->max_memory_size, size));
	printf("address bits     %u\n", query->gpa_bits);
	printf("XCR0             0x%" PRIx64 "\n", (uint64_t)query->xcr0);
	printf("TSC              %u kHz\n", query->tsc_khz);
}

static void print_text(const struct info *info)
{
	printf("CPU              %s%s%s%s\n", info->cpu.vendor,
	       info->cpu.svm ? " svm" : "", info->cpu.vmx ? " vmx" : "",
	       !info->cpu.nested_paging ? "" : info->cpu.svm ? " npt" : " ept");
	if (info->query.abi_version)
		print_query(&info->query);
	if (info->usable)
		puts("This host can run guests.");
}

int command_info(int argc, char **argv)
{
	struct info info = { 0 };
	bool json = false;

	argp_parse(&argp, argc, argv, 0, NULL, &json);
	collect(&info);
	if (json)
		print_json(&info);
	else
		print_text(&info);
	if (!info.usable && !json)
		fprintf(stderr, "wisp: %s\n", info.reason);
	return command_printed(info.usable ? 0 : 1);
}
