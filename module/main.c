// SPDX-License-Identifier: GPL-2.0
/*
 * The module: which hardware there is, and what is set up in which order.
 */
#define pr_fmt(fmt) "wisp: " fmt

#include <linux/module.h>

#include <asm/cpufeature.h>
#include <asm/tsc.h>

#include "backend.h"
#include "chardev.h"
#include "cpuid.h"
#include "host.h"
#include "hw.h"
#include "pages.h"
#include "state.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

struct wisp_backend *wisp_backend;

DEFINE_STATIC_CALL_NULL(wisp_cpu_enable, int (void));
DEFINE_STATIC_CALL_NULL(wisp_cpu_disable, void (void));
DEFINE_STATIC_CALL_NULL(wisp_window_enter, void (struct wisp_vcpu *vcpu));
DEFINE_STATIC_CALL_NULL(wisp_window_leave, void (struct wisp_vcpu *vcpu));
DEFINE_STATIC_CALL_NULL(wisp_run, void (struct wisp_vcpu *vcpu));

static struct wisp_backend *const backends[] = { &svm_backend, &vmx_backend };

/* Takes the first backend whose hardware is there. */
static int choose_backend(void)
{
	unsigned int i;
	int ret;

	if (!boot_cpu_has(X86_FEATURE_OSXSAVE) || !tsc_khz) {
		pr_err("this CPU has no XSAVE or no usable TSC\n");
		return -EOPNOTSUPP;
	}
	for (i = 0; i < ARRAY_SIZE(backends); i++) {
		ret = backends[i]->init();
		if (!ret)
			wisp_backend = backends[i];
		if (ret != -ENODEV)
			return ret;
	}
	pr_err("this CPU has neither SVM nor VMX, or a hypervisor below hides it\n");
	return -ENODEV;
}

static int __init wisp_init(void)
{
	int ret;

	ret = choose_backend();
	if (ret)
		return ret;
	ret = wisp_host_init();
	if (ret)
		goto err_backend;
	wisp_state_init();
	ret = wisp_cpuid_init();
	if (ret)
		goto err_host;
	ret = wisp_pages_init();
	if (ret)
		goto err_cpuid;
	ret = wisp_hw_init();
	if (ret)
		goto err_pages;
	ret = wisp_chardev_init();
	if (ret)
		goto err_hw;
	pr_info("%s, %u-bit guest-physical addresses\n", wisp_backend->name,
		wisp_backend->gpa_bits);
	return 0;

err_hw:
	wisp_hw_exit();
err_pages:
	wisp_pages_exit();
err_cpuid:
	wisp_cpuid_exit();
err_host:
	wisp_host_exit();
err_backend:
	wisp_backend->exit();
	return ret;
}

static void __exit wisp_exit(void)
{
	wisp_chardev_exit();
	wisp_hw_exit();
	wisp_pages_exit();
	wisp_cpuid_exit();
	wisp_host_exit();
	wisp_backend->exit();
}

module_init(wisp_init);
module_exit(wisp_exit);

MODULE_DESCRIPTION("Wisp, a lightweight hypervisor");
MODULE_LICENSE("GPL");
