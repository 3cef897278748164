/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SMACCEL_HELPER_STATS_INTERNAL_H
#define SMACCEL_HELPER_STATS_INTERNAL_H

#include <jansson.h>
#include <stdint.h>

struct helper;
struct request;

/* An answer without a text on a door: 0 or -errno. */
void stats_reply(int door, int error);
/* JSON text made by a child process from a snapshot of everything: for what may be long. NULL: -ENOMEM. -EBUSY is answered
 * when too many run already. */
void stats_reply_by_child(struct request *request, char *(*make)(const struct request *request));

/* New references; NULL: out of memory. */
json_t *stats_status(struct helper *helper);
json_t *trial_status(const struct helper *helper); /* what everybody may know of a trial */
/* The rows that uid may see: its own, or all for root. */
json_t *stats_connections(struct helper *helper, uint32_t uid);

#endif
