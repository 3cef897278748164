/* SPDX-License-Identifier: BSD-2-Clause */
/* Evictions: all channels of a user are closed, some in each turn of the loop. */
#ifndef SMACCEL_HELPER_EVICTION_H
#define SMACCEL_HELPER_EVICTION_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct evictions;
struct helper;

struct evictions *evictions_new(struct helper *helper); /* NULL: out of memory */
void evictions_free(struct evictions *evictions);       /* after the channels are closed */

/* Nothing more is received from any of that user's channels. They are still open when this returns. */
void eviction_begin(struct evictions *evictions, uint32_t uid);
/* Whether some of that user's are still to be closed: no new ones then. */
bool eviction_is_on(const struct evictions *evictions, uint32_t uid);
/* It is being closed. */
void eviction_forget(struct channel *channel);

#endif
