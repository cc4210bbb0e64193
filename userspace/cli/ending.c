// SPDX-License-Identifier: MIT
#include "ending.h"

#include <inttypes.h>
#include <json.h>
#include <stdarg.h>
#include <string.h>

#include "stats.h"
#include "utf8.h"

void ending_set(struct ending *ending, enum ending_kind kind,
		const char *format, ...)
{
	va_list args;

	if (ending->ended)
		return;
	ending->ended = true;
	ending->kind = kind;
	va_start(args, format);
	vsnprintf(ending->message, sizeof(ending->message), format, args);
	va_end(args);
}

static const char *kind_name(enum ending_kind kind)
{
	switch (kind) {
	case ENDING_POWEROFF:
		return "poweroff";
	case ENDING_RESET:
		return "reset";
	case ENDING_CRASH:
		return "crash";
	case ENDING_TIMEOUT:
		return "timeout";
	case ENDING_QUIT:
		return "quit";
	case ENDING_HALT:
		return "halt";
	case ENDING_SAVED:
		return "saved";
	case ENDING_USAGE:
		return "usage";
	default:
		return "error";
	}
}

struct named_register {
	const char *name;
	size_t offset;
};

#define GENERAL(member)	{ #member, offsetof(struct wisp_state, general.member) }
#define CONTROL(member)	{ #member, offsetof(struct wisp_state, control.member) }

static const struct named_register registers[] = {
	GENERAL(rip), GENERAL(rflags), GENERAL(rsp),
	GENERAL(rax), GENERAL(rbx), GENERAL(rcx),
	GENERAL(rdx), GENERAL(rsi), GENERAL(rdi),
	GENERAL(rbp), GENERAL(r8), GENERAL(r9),
	GENERAL(r10), GENERAL(r11), GENERAL(r12),
	GENERAL(r13), GENERAL(r14), GENERAL(r15),
	CONTROL(cr0), CONTROL(cr2), CONTROL(cr3),
	CONTROL(cr4), CONTROL(efer), CONTROL(xcr0),
};

#define SEGMENT(member)	{ #member, offsetof(struct wisp_state, segments.member) }

static const struct named_register segments[] = {
	SEGMENT(cs), SEGMENT(ss), SEGMENT(ds), SEGMENT(es), SEGMENT(fs),
	SEGMENT(gs), SEGMENT(tr), SEGMENT(ldtr), SEGMENT(gdt), SEGMENT(idt),
};

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static const void *at(const struct wisp_state *state, size_t offset)
{
	return (const char *)state + offset;
}

static void print_registers(const struct wisp_state *state)
{
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
		const uint64_t *value = at(state, registers[i].offset);

		fprintf(stderr, "%6s %016" PRIx64 "%s", registers[i].name,
			(uint64_t)*value, i % 3 == 2 ? "\n" : " ");
	}
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct wisp_segment *segment =
			at(state, segments[i].offset);

		fprintf(stderr,
			"%6s %04x base %016" PRIx64 " limit %08x attributes %04x\n",
			segments[i].name, segment->selector,
			(uint64_t)segment->base, segment->limit,
			segment->attributes);
	}
}

static void print_exit(const struct ending *ending)
{
	const struct wisp_exit *exit = &ending->exit;

	fprintf(stderr, "  exit %s", wisp_exit_name(exit->reason));
	for (unsigned int i = 0; i < 3; i++)
		fprintf(stderr, " %" PRIx64, (uint64_t)exit->raw[i]);
	if (ending->field)
		fprintf(stderr, " refused %s", wisp_field_name(ending->field));
	fputc('\n', stderr);
}

void ending_print(const struct ending *ending)
{
	if (ending->message[0])
		fprintf(stderr, "wisp: %s\n", ending->message);
	if (ending->has_state) {
		print_exit(ending);
		print_registers(&ending->state);
	}
	if (ending->has_stats)
		stats_print(&ending->stats, stderr);
}

static void add_hex(json_object *object, const char *name, uint64_t value)
{
	char text[20];

	/* As text: many readers of JSON keep 53 bits only. */
	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	json_object_object_add(object, name, json_object_new_string(text));
}

static void add_crash(json_object *object, const struct ending *ending)
{
	json_object *values = json_object_new_object();

	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		add_hex(values, registers[i].name,
			*(const uint64_t *)at(&ending->state,
					      registers[i].offset));
	json_object_object_add(object, "registers", values);
	json_object_object_add(object, "exit", json_object_new_string(
			wisp_exit_name(ending->exit.reason)));
	if (ending->field)
		json_object_object_add(object, "refused",
				       json_object_new_string(
				wisp_field_name(ending->field)));
}

/* It may have a path in it, which is any bytes, and be cut off at its end. */
static void add_message(json_object *object, const struct ending *ending)
{
	struct file text = { 0 };

	utf8_append(&text, (const uint8_t *)ending->message,
		    strlen(ending->message));
	json_object_object_add(object, "message", json_object_new_string_len(
			(const char *)text.data ?: "", (int)text.size));
	file_free(&text);
}

int ending_print_json(const struct ending *ending, FILE *stream)
{
	json_object *object = json_object_new_object();
	char seconds[32];
	int ret;

	json_object_object_add(object, "ending",
			       json_object_new_string(kind_name(ending->kind)));
	json_object_object_add(object, "status",
			       json_object_new_int((int)ending->kind));
	add_message(object, ending);
	json_object_object_add(object, "runs",
			       json_object_new_uint64(ending->runs));
	snprintf(seconds, sizeof(seconds), "%.3f",
		 (double)ending->duration_ns / 1e9);
	json_object_object_add(object, "seconds", json_object_new_double_s(
			(double)ending->duration_ns / 1e9, seconds));
	if (ending->has_state)
		add_crash(object, ending);
	if (ending->has_stats)
		json_object_object_add(object, "stats",
				       stats_to_json(&ending->stats));
	ret = fprintf(stream, "%s\n", json_object_to_json_string_ext(object,
			JSON_C_TO_STRING_PLAIN)) < 0 || fflush(stream);
	json_object_put(object);
	return ret ? -1 : 0;
}
