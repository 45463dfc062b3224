/* A shell for QuickJS: runs the script on stdin, prints with print(), tells an uncaught exception on stderr. */
#include <stdio.h>
#include <string.h>

#include "quickjs.h"

static JSValue print(JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv) {
    (void)this_value;
    for (int i = 0; i < argc; i++) {
        size_t size;
        const char *text = JS_ToCStringLen(context, &size, argv[i]);
        if (!text) return JS_EXCEPTION;
        if (i) putchar(' ');
        fwrite(text, 1, size, stdout);
        JS_FreeCString(context, text);
    }
    putchar('\n');
    return JS_UNDEFINED;
}

int main(void) {
    static char script[1 << 16];
    size_t size = fread(script, 1, sizeof script - 1, stdin);
    script[size] = 0;
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *context = JS_NewContext(runtime);
    JSValue global = JS_GetGlobalObject(context);
    JS_SetPropertyStr(context, global, "print", JS_NewCFunction(context, print, "print", 1));
    JS_FreeValue(context, global);
    JSValue value = JS_Eval(context, script, size, "stdin", 0);
    int failed = JS_IsException(value);
    if (failed) {
        JSValue error = JS_GetException(context);
        const char *text = JS_ToCString(context, error);
        fprintf(stderr, "%s\n", text ? text : "?");
        JS_FreeCString(context, text);
        JS_FreeValue(context, error);
    }
    JS_FreeValue(context, value);
    JS_FreeContext(context);
    JS_FreeRuntime(runtime);
    return failed;
}
