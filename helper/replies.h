/* SPDX-License-Identifier: BSD-2-Clause */
/* The texts of replies (WIRE_REPLY): memory of the helper's that a client gets to read, for a while. */
#ifndef SMACCEL_HELPER_REPLIES_H
#define SMACCEL_HELPER_REPLIES_H

#include <stddef.h>
#include <stdint.h>

struct channel;
struct loop;
struct replies;

struct replies *replies_new(struct loop *loop, uint32_t users_max); /* NULL: out of memory */
void replies_free(struct replies *replies);                         /* what was handed out stays as it is */

/* An empty file for one text to that door. The fd stays the module's, and valid until the loop goes on (in a forked child: for
 * ever). Or -errno. */
int replies_make(struct replies *replies, const struct channel *door);
/* Its texts have been read, or never will be. */
void replies_door_closed(struct replies *replies, const struct channel *door);
/* Writes the text and seals it: the client can read it as it likes, and not change it. 0 or -errno. */
int replies_write(int fd, const char *text, size_t bytes);

#endif
