/* SPDX-License-Identifier: BSD-2-Clause */
/* uthash as this daemon wants it: out of memory marks the element `lost`, where stock uthash would exit. */
#ifndef SMACCEL_HELPER_HASH_H
#define SMACCEL_HELPER_HASH_H

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->lost = 1)
#include <uthash.h>

#endif
