/*-------------------------------------------------------------------------
 *
 * vecdist_debug.h
 *	  Named places where a test can stop, fail or kill a backend.
 *
 * VD_DEBUG_POINT("vhnsw-after-element") costs nothing in builds for users;
 * builds with ASSERTIONS=1 obey the setting vecdist.debug_points.  Names are
 * lower case, begin with their subsystem, and stand in its README where the
 * crash states are described.
 *
 * VD_UNDER_TEST is true where debug points are set, and false in builds for
 * users.  Who then waits for others makes sure that these come to their points.
 *
 * VD_MISTAKE("dist-trust-share") is true where the setting
 * vecdist.debug_mistake has this name, and false in builds for users.  The code
 * behind it makes a mistake that the test of the thing must notice.
 *
 * VD_PRETEND("vhnsw-many-links") is true where the setting
 * vecdist.debug_pretend has this name, and false in builds for users.  The code
 * behind it does as if there were more of something than a test can have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDIST_DEBUG_H
#define VECDIST_DEBUG_H

#ifdef VECDIST_DEBUG_POINTS
extern void VecdistDebugInit(void);
extern void VecdistDebugPoint(const char *name);
extern bool VecdistDebugHasPoints(void);
extern bool VecdistDebugMistake(const char *name);
extern bool VecdistDebugPretend(const char *name);

#define VD_DEBUG_POINT(name) VecdistDebugPoint(name)
#define VD_UNDER_TEST VecdistDebugHasPoints()
#define VD_MISTAKE(name) VecdistDebugMistake(name)
#define VD_PRETEND(name) VecdistDebugPretend(name)
#else
#define VecdistDebugInit() ((void) 0)
#define VD_DEBUG_POINT(name) ((void) 0)
#define VD_UNDER_TEST false
#define VD_MISTAKE(name) false
#define VD_PRETEND(name) false
#endif

#endif							/* VECDIST_DEBUG_H */
