/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's harness, with time enough for the slowest lab. */
#ifndef WISP_SELFTESTS_HARNESS_H
#define WISP_SELFTESTS_HARNESS_H

#include "kselftest_harness.h"

/* Seconds until a test is taken to hang: debug-vmx needs 100 times those of svm. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#endif
