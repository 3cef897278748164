# SPDX-License-Identifier: BSD-2-Clause
"""What the tests share: a private helper, programs in its arms, namespaces, kernel counters."""
