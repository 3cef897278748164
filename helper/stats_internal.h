/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SMACCEL_HELPER_STATS_INTERNAL_H
#define SMACCEL_HELPER_STATS_INTERNAL_H

#include <jansson.h>
#include <stdint.h>

struct helper;

/* New references; NULL: out of memory. */
json_t *stats_status(struct helper *helper);
/* The rows that uid may see: its own, or all for root. */
json_t *stats_connections(struct helper *helper, uint32_t uid);

#endif
