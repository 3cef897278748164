/* SPDX-License-Identifier: BSD-2-Clause */
/* What a close, an exit and an exec have in common. */
#ifndef SMACCEL_CLOSING_H
#define SMACCEL_CLOSING_H

#include "landing.h"

/* Redirected bytes of that connection are unread, or on their way (landing; NULL: not asked), and the peer has not reset it. */
bool closing_loses_bytes(struct conn *conn, int fd, const struct landing *landing);
/* Such that nobody would read after a close: nobody has the connection but for `own` fds of this process.
 * May wait for the helper and for others that are about to close, bounded. */
bool closing_loses_bytes_alone(struct conn *conn, int fd, uint32_t own, const struct landing *landing);
/* What is sent to it from now on is TCP's: the gate finds its receive buffer too small (fact 12b), and so it stays. */
void closing_stop_redirects(const struct conn *conn, int fd);
/* SO_LINGER with 0: the kernel's close resets the connection; or as it is by itself. */
bool closing_set_reset(int fd, bool on);

#endif
