/* SPDX-License-Identifier: BSD-2-Clause */
/* Duplicates by which several calls go on (held.c), and by how many. Where no number is free, calls on one connection share one, so that
 * one of the shim's own is enough for all of them. */
#ifndef SMACCEL_HELD_SHARE_H
#define SMACCEL_HELD_SHARE_H

#include <stdbool.h>

void held_share_begin(int fd); /* for one call. Without a free place it is not shared */
bool held_share_add(int fd);   /* for one more. False: it is not shared, or closed by now */
/* For one less. False: there are others. *resets_out (or NULL): held_share_note_reset() was told of it. */
bool held_share_end(int fd, bool *resets_out);
/* Whoever ends it last may take back the reset that its file's close is. False: it is not shared, or closed by now. */
bool held_share_note_reset(int fd);
void held_shares_clear(void);

#endif
