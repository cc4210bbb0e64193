/* SPDX-License-Identifier: MIT */
/* The driver's counters of a VM, told. */
#ifndef WISP_CLI_STATS_H
#define WISP_CLI_STATS_H

#include <json.h>
#include <stdio.h>
#include <wisp.h>

void stats_print(const struct wisp_stats *stats, FILE *stream);
json_object *stats_to_json(const struct wisp_stats *stats);

#endif
