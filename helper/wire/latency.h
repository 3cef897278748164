/* SPDX-License-Identifier: BSD-2-Clause */
/* Latencies as the shim records them: the part of the session memory behind the cells.
 *
 * On while session_memory.recording is not 0: the process runs with SMACCEL_GROUP, or a trial runs. A series is one histogram of
 * one role, arm and listening port; the shim takes one when it first needs it and adds to it by relaxed atomics, from any
 * thread. The helper takes counts out by exchanging them for 0, at any moment, so that each is seen once and a process that
 * dies has lost nothing. Of what is here only counts are believed, and they are the process's own claims.
 */
#ifndef SMACCEL_WIRE_LATENCY_H
#define SMACCEL_WIRE_LATENCY_H

#include <stdatomic.h>
#include <stdint.h>

#include "histogram.h"
#include "memory.h"

#define LATENCY_SERIES 128u
/* Series at the end that parts of arms other than the first may not take: a process of many ports shall have a series for each of
 * them, if not for each of their parts. */
#define LATENCY_SERIES_WHOLE 32u
#define LATENCY_REASONS 64u

enum latency_role {
	LATENCY_CLIENT = 0, /* a connecting end: from the last send of a request to the first byte of the response */
	LATENCY_SERVER =
		1, /* an accepting end: from the receive that ended a request to the first send of the response */
};

enum latency_arm {
	LATENCY_ALL = 0, /* no trial has assigned the connection */
	LATENCY_ACCELERATED = 1,
	LATENCY_PLAIN = 2,
	LATENCY_ARM_COUNT
};

/* The connections of an arm are divided into so many parts, by a hash of the end's cookie: requests of one connection are not
 * independent, but those of different parts are, and how much the parts differ says how sure a figure of all requests is. */
#define LATENCY_PARTS 8u
static inline uint32_t latency_part(uint64_t cookie)
{
	return (uint32_t)(cookie * UINT64_C(0x9e3779b97f4a7c15) >> 61);
}
_Static_assert(LATENCY_PARTS == 1u << 3, "what latency_part() leaves of 64 bits");

/* The name of a series; 0 is none. The part is 0 but in the arms of a trial. */
#define LATENCY_KEY_USED 0x80000000u
#define LATENCY_KEY_UNUSED_BITS 0x7fc00000u
static inline uint32_t latency_key(enum latency_role role, enum latency_arm arm, uint32_t part, uint16_t port_h)
{
	return LATENCY_KEY_USED | part << 19 | (uint32_t)arm << 17 | (uint32_t)role << 16 | port_h;
}
static inline uint32_t latency_key_part(uint32_t key)
{
	return key >> 19 & (LATENCY_PARTS - 1);
}
/* The same with all parts together; of one part with all ports together. */
static inline uint32_t latency_key_of_all_parts(uint32_t key)
{
	return key & ~((LATENCY_PARTS - 1) << 19);
}
static inline uint32_t latency_key_of_all_ports(uint32_t key)
{
	return key & ~(uint32_t)UINT16_MAX;
}
static inline enum latency_role latency_key_role(uint32_t key)
{
	return (enum latency_role)(key >> 16 & 1);
}
static inline enum latency_arm latency_key_arm(uint32_t key)
{
	return (enum latency_arm)(key >> 17 & 3);
}
static inline uint16_t latency_key_port(uint32_t key)
{
	return (uint16_t)key;
}

struct latency_series {
	_Atomic uint32_t key;
	uint32_t padding;
	_Atomic uint64_t sum_ns;
	_Atomic uint64_t max_ns;
	uint64_t reserved[5];
};
_Static_assert(sizeof(struct latency_series) == 64, "a line a series");

struct latency_memory {
	/* What SMACCEL_GROUP counts besides; by enum latency_role. */
	_Atomic uint64_t opened[2];
	_Atomic uint64_t unrecorded; /* latencies for which no series was free */
	uint64_t padding[5];
	_Atomic uint64_t closed[LATENCY_REASONS]; /* connections that were closed, by their last reason */
	_Atomic uint64_t
		unassigned[LATENCY_REASONS]; /* the same, during a trial, of those that were in none of its arms */
	struct latency_series series[LATENCY_SERIES];
	uint8_t to_page[12288 - 64 - 2 * LATENCY_REASONS * 8 - LATENCY_SERIES * 64];
	_Atomic uint64_t counts[LATENCY_SERIES][HISTOGRAM_BUCKETS];
};
_Static_assert(__builtin_offsetof(struct latency_memory, counts) == 12288, "counts begin on a page");
_Static_assert(HISTOGRAM_BUCKETS * 8 % 4096 == 0, "each series has pages of its own");

#define LATENCY_OFFSET ((MEMORY_BYTES + 4095) / 4096 * 4096)
#define LATENCY_BYTES ((uint64_t)sizeof(struct latency_memory))
#define SESSION_BYTES (LATENCY_OFFSET + LATENCY_BYTES) /* of the whole memfd */

#endif
