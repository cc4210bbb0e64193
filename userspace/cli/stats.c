// SPDX-License-Identifier: MIT
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#define REASONS	(sizeof(((struct wisp_stats *)NULL)->exits) / sizeof(uint64_t))

void stats_print(const struct wisp_stats *stats, FILE *stream)
{
	fprintf(stream, "%-20s %.3f s\n", "run time",
		(double)stats->run_time_ns / 1e9);
	fprintf(stream, "%-20s %" PRIu64 "\n", "entries",
		(uint64_t)stats->entries);
	fprintf(stream, "%-20s %" PRIu64 "\n", "host exits",
		(uint64_t)stats->host_exits);
	fprintf(stream, "%-20s %" PRIu64 "\n", "faults",
		(uint64_t)stats->faults);
	fprintf(stream, "%-20s %" PRIu64 "\n", "injections",
		(uint64_t)stats->injections);
	for (uint32_t i = 0; i < REASONS; i++)
		if (stats->exits[i])
			fprintf(stream, "exits %-14s %" PRIu64 "\n",
				wisp_exit_name(i), (uint64_t)stats->exits[i]);
}

static void add(json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

json_object *stats_to_json(const struct wisp_stats *stats)
{
	json_object *object = json_object_new_object();
	json_object *exits = json_object_new_object();

	add(object, "run_time_ns", stats->run_time_ns);
	add(object, "entries", stats->entries);
	add(object, "host_exits", stats->host_exits);
	add(object, "faults", stats->faults);
	add(object, "injections", stats->injections);
	for (uint32_t i = 0; i < REASONS; i++)
		if (stats->exits[i])
			add(exits, wisp_exit_name(i), stats->exits[i]);
	json_object_object_add(object, "exits", exits);
	return object;
}
