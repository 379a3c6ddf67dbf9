/** Shows openapi.json by Swagger UI, if that is installed; a classic script, as Swagger UI is one. */

if (window.SwaggerUIBundle)
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    // No request leaves for another server, not even to check the description.
    validatorUrl: null,
  });
