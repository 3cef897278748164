/* SPDX-License-Identifier: BSD-2-Clause */
/* The line that hot.h describes. */
#include "hot.h"

struct hot hot = { .recording = &hot.recording_apart };
