/* SPDX-License-Identifier: BSD-2-Clause */
/* SipHash-2-4: a keyed hash that nobody without the key can steer. Pure. */
#ifndef SMACCEL_HELPER_SIPHASH_H
#define SMACCEL_HELPER_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *bytes, size_t count);

#endif
